//! `moultd`, the server.

use moult_host::plugin::probe;

fn main() {
    // A probe child is this binary too; it must do nothing else before it has confined itself.
    if let Some(path) = probe::requested() {
        probe::child_main(&path);
    }
}
