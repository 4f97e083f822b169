//! The data of the two channel bindings that SCRAM's -PLUS mechanisms use.
//!
//! `tls-exporter` (RFC 9266) is bound to the one session; `tls-server-end-point` (RFC 5929 section 4.1) to the
//! server's certificate. `tls-unique` is not offered: it does not exist in TLS 1.3 and is broken without the extended
//! master secret.

use aws_lc_rs::digest;
use rustls::ServerConnection;
use x509_parser::oid_registry;
use x509_parser::prelude::{AlgorithmIdentifier, FromDer, X509Certificate};
use x509_parser::signature_algorithm::RsaSsaPssParams;

/// The exporter label of RFC 9266 section 2.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// `tls-exporter`: 32 bytes that only the two ends of this session can compute.
///
/// The context is present and empty, which in TLS 1.2 is not the same as absent (RFC 5705 section 4).
pub(super) fn exporter(connection: &ServerConnection) -> Option<[u8; 32]> {
    connection.export_keying_material([0u8; 32], EXPORTER_LABEL, Some(&[])).ok()
}

/// `tls-server-end-point`: the hash of the certificate by its own signature's hash function.
///
/// `None` when the signature has no single hash function (Ed25519), for which RFC 5929 leaves the binding undefined.
pub(super) fn server_end_point(certificate: &[u8]) -> Option<Box<[u8]>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let algorithm = end_point_hash(&parsed.signature_algorithm)?;
    Some(digest::digest(algorithm, certificate).as_ref().into())
}

fn end_point_hash(signature: &AlgorithmIdentifier<'_>) -> Option<&'static digest::Algorithm> {
    let oid = &signature.algorithm;
    if *oid == oid_registry::OID_PKCS1_RSASSAPSS {
        let params = RsaSsaPssParams::try_from(signature.parameters.as_ref()?).ok()?;
        return hash_by_oid(&params.hash_algorithm_oid().to_id_string());
    }
    match oid.to_id_string().as_str() {
        // MD5 and SHA-1 are replaced by SHA-256 (RFC 5929 section 4.1).
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" => Some(&digest::SHA256),
        "1.2.840.113549.1.1.11" | "1.2.840.10045.4.3.2" => Some(&digest::SHA256),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Some(&digest::SHA384),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Some(&digest::SHA512),
        "1.2.840.113549.1.1.14" | "1.2.840.10045.4.3.1" => Some(&digest::SHA224),
        _ => None,
    }
}

fn hash_by_oid(oid: &str) -> Option<&'static digest::Algorithm> {
    match oid {
        "1.3.14.3.2.26" | "2.16.840.1.101.3.4.2.1" => Some(&digest::SHA256),
        "2.16.840.1.101.3.4.2.2" => Some(&digest::SHA384),
        "2.16.840.1.101.3.4.2.3" => Some(&digest::SHA512),
        "2.16.840.1.101.3.4.2.4" => Some(&digest::SHA224),
        _ => None,
    }
}
