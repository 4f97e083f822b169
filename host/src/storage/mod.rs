//! Key spaces per vhost and module (keyval, map, archive) and accounts, on an embedded database.
