// What the checks have let pass goes to the sink through Haraka's queue on disk, as it does for clients that may relay.
exports.register = function () {
    this.register_hook('data_post', 'may_relay', 100)
    this.register_hook('get_mx', 'next_hop')
}

exports.may_relay = function (next, connection) {
    connection.relaying = true
    next()
}

exports.next_hop = function (next) {
    next(OK, { priority: 0, exchange: '127.0.0.1', port: 2603 })
}
