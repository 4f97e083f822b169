//! Passwords and SCRAM secrets as servers write them (XEP-0227 4.2 and 4.3).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::PIE_SCRAM;
use crate::auth::{Hash, ScramSecrets};
use crate::xml::Element;

/// What a file says of an account's password.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    /// In clear.
    pub password: Option<String>,
    /// Of each mechanism.
    pub scram: Vec<ScramSecrets>,
}

impl Secrets {
    /// Adds those of one mechanism; of two for the same one the first counts.
    pub fn add(&mut self, secrets: ScramSecrets) {
        if !self.scram.iter().any(|other| other.hash == secrets.hash) {
            self.scram.push(secrets);
        }
    }
}

/// The attribute `password`: in clear, or, from old versions of ejabberd, `scram:` with keys, salt and iterations.
pub(super) fn of_password(password: Option<String>) -> Secrets {
    let scram = password.as_deref().and_then(old_scram);
    match scram {
        Some(scram) => Secrets { password: None, scram: vec![scram] },
        None => Secrets { password: password.filter(|password| !password.is_empty()), scram: Vec::new() },
    }
}

fn old_scram(password: &str) -> Option<ScramSecrets> {
    let fields: Vec<&str> = password.strip_prefix("scram:")?.split(',').collect();
    let [stored_key, server_key, salt, iterations] = fields.as_slice() else { return None };
    let decoded = |text: &str| STANDARD.decode(text).ok();
    let secrets = ScramSecrets {
        hash: Hash::Sha1,
        salt: decoded(salt)?,
        iterations: iterations.parse().ok()?,
        stored_key: decoded(stored_key)?,
        server_key: decoded(server_key)?,
    };
    once_more(secrets).filter(ScramSecrets::is_sound)
}

/// A password that nobody knows.
pub(super) fn nobodys() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; 32]);
    // Without random bytes the password is as good as none; then the account room refuses an empty one.
    match aws_lc_rs::rand::fill(&mut *bytes) {
        Ok(()) => Zeroizing::new(STANDARD.encode(*bytes)),
        Err(_) => Zeroizing::default(),
    }
}

/// `<scram-credentials/>`, one for each mechanism.
pub(super) fn write(secrets: &ScramSecrets) -> String {
    format!(
        "<scram-credentials xmlns='{PIE_SCRAM}' mechanism='{}'><iter-count>{}</iter-count><salt>{}</salt>\
         <server-key>{}</server-key><stored-key>{}</stored-key></scram-credentials>",
        secrets.hash.mechanism(),
        secrets.iterations,
        STANDARD.encode(&secrets.salt),
        STANDARD.encode(&secrets.server_key),
        STANDARD.encode(&secrets.stored_key),
    )
}

/// Reads one; the error says what is wrong with it, and nothing of what is in it.
pub(super) fn read(element: &Element) -> Result<ScramSecrets, String> {
    let mechanism = element.attribute("mechanism").unwrap_or_default();
    let hash = Hash::ALL.into_iter().find(|hash| hash.mechanism() == mechanism);
    let hash = hash
        .ok_or_else(|| format!("its secrets for {mechanism} are of no use: this server does not have it"))?;
    let field = |name: &str| {
        let child = element.child(name, PIE_SCRAM);
        child.map(Element::text).ok_or_else(|| format!("its secrets for {mechanism} lack <{name}/>"))
    };
    let bytes = |name: &str| {
        let text: String = field(name)?.split_whitespace().collect();
        STANDARD
            .decode(text)
            .map_err(|_| format!("its secrets for {mechanism} have wrong base64 in <{name}/>"))
    };
    let iterations = field("iter-count")?.trim().parse();
    let iterations =
        iterations.map_err(|_| format!("its secrets for {mechanism} have no number of iterations"))?;
    let (salt, stored_key, server_key) = (bytes("salt")?, bytes("stored-key")?, bytes("server-key")?);
    let secrets = ScramSecrets { hash, salt, iterations, stored_key, server_key };
    once_more(secrets).filter(ScramSecrets::is_sound).ok_or_else(|| {
        format!(
            "its secrets for {mechanism} are none: a key has the wrong length, or a number is out of range"
        )
    })
}

/// ejabberd up to 23.01 encodes salt and keys twice, which shows in the length of the keys.
fn once_more(secrets: ScramSecrets) -> Option<ScramSecrets> {
    let twice = STANDARD.encode(vec![0; secrets.hash.output_len()]).len();
    if secrets.stored_key.len() != twice || secrets.server_key.len() != twice {
        return Some(secrets);
    }
    let decoded = |bytes: &[u8]| STANDARD.decode(bytes).ok();
    Some(ScramSecrets {
        hash: secrets.hash,
        iterations: secrets.iterations,
        salt: decoded(&secrets.salt)?,
        stored_key: decoded(&secrets.stored_key)?,
        server_key: decoded(&secrets.server_key)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::Limits;

    const LIMITS: Limits =
        Limits { stanza_bytes: 65536, depth: 8, attributes: 8, token_bytes: 1024, declarations: 8 };

    fn secrets() -> ScramSecrets {
        ScramSecrets {
            hash: Hash::Sha1,
            salt: b"a salt".to_vec(),
            iterations: 4096,
            stored_key: vec![1; 20],
            server_key: vec![2; 20],
        }
    }

    fn element(text: &str) -> Element {
        Element::parse(text, &LIMITS).unwrap()
    }

    #[test]
    fn secrets_survive_their_element() {
        assert_eq!(read(&element(&write(&secrets()))).unwrap(), secrets());
    }

    #[test]
    fn what_was_encoded_twice_is_decoded_twice() {
        let plain = secrets();
        let twice = ScramSecrets {
            salt: STANDARD.encode(&plain.salt).into_bytes(),
            stored_key: STANDARD.encode(&plain.stored_key).into_bytes(),
            server_key: STANDARD.encode(&plain.server_key).into_bytes(),
            ..plain.clone()
        };
        assert_eq!(read(&element(&write(&twice))).unwrap(), plain);
    }

    #[test]
    fn what_is_of_no_use_is_told_without_its_secrets() {
        let good = write(&secrets());
        for (from, to, part) in [
            ("SCRAM-SHA-1", "SCRAM-MD5", "does not have it"),
            ("<salt>", "<sugar>", "framing"),
            (">4096<", ">many<", "number of iterations"),
            (">4096<", ">0<", "out of range"),
            ("<stored-key>", "<stored-key>AAAA", "wrong length"),
            ("<stored-key>", "<stored-key>*", "wrong base64"),
        ] {
            let Ok(element) = Element::parse(&good.replace(from, to), &LIMITS) else {
                assert_eq!(part, "framing");
                continue;
            };
            let error = read(&element).unwrap_err();
            assert!(error.contains(part) && !error.contains("AQEB"), "{from}: {error}");
        }
    }
}
