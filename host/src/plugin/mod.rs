//! Modules: manifest, loader, registry, generations, the update transaction, and the bridge between host types and the ABI.
