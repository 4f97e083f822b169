//! Sessions and mailboxes by themselves.

mod binding;
mod mailbox;
