//! Bound resources: full JID to bounded mailbox, priority, presence. Holds no sockets.
