// Take everything for anybody and send it to the sink. Reverse DNS is answered here, so that no resolver's wait is measured.
exports.register = function () {
    this.register_hook('lookup_rdns', 'client_name')
    this.register_hook('connect', 'may_relay')
    this.register_hook('rcpt', 'yes')
    this.register_hook('get_mx', 'next_hop')
}

exports.client_name = function (next) {
    next(OK, 'client.example.com')
}

exports.may_relay = function (next, connection) {
    connection.relaying = true
    next()
}

exports.yes = function (next) {
    next(OK)
}

exports.next_hop = function (next) {
    next(OK, { priority: 0, exchange: '127.0.0.1', port: 2603 })
}
