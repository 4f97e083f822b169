//! JIDs, stanzas as shared bytes, error conditions and namespaces.
