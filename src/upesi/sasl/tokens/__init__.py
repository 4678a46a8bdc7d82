"""Bearer tokens of OAUTHBEARER and XOAUTH2: whose is it, asked of the issuer or read from its signature."""
