//! The two messages of a SCRAM client (RFC 5802 section 7), parsed strictly.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::sasl::{SaslCondition, SaslFailure};

/// The longest client nonce; what clients send has 16 to 64 characters.
const MAX_NONCE_BYTES: usize = 512;

/// What the client says about channel binding.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flag {
    /// `n`: the client has none.
    Unsupported,
    /// `y`: the client has it and was not offered it.
    Unoffered,
    /// `p=`: the client binds by this type.
    Bound(String),
}

/// `gs2-header client-first-message-bare`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFirst {
    pub(super) flag: Flag,
    pub(super) authzid: Option<String>,
    /// As written, with both commas: the client repeats it in its final message.
    pub(super) gs2_header: String,
    /// As written: part of what is signed.
    pub(super) bare: String,
    pub(super) username: String,
    pub(super) nonce: String,
}

/// `channel-binding "," nonce ["," extensions] "," proof`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFinal {
    pub(super) binding: Vec<u8>,
    pub(super) nonce: String,
    pub(super) proof: Vec<u8>,
    /// As written: part of what is signed.
    pub(super) without_proof: String,
}

impl ClientFirst {
    pub(super) fn parse(message: &[u8]) -> Result<ClientFirst, SaslFailure> {
        let message = text(message)?;
        let mut parts = message.splitn(3, ',');
        let (Some(flag), Some(authzid), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return malformed("The message has no gs2 header.");
        };
        let mut attributes = bare.split(',');
        let username = user(attributes.next())?;
        let nonce = nonce(attributes.next())?;
        extensions(attributes)?;
        Ok(ClientFirst {
            flag: binding_flag(flag)?,
            authzid: authorization(authzid)?,
            gs2_header: format!("{flag},{authzid},"),
            bare: bare.into(),
            username,
            nonce,
        })
    }
}

impl ClientFinal {
    pub(super) fn parse(message: &[u8]) -> Result<ClientFinal, SaslFailure> {
        let message = text(message)?;
        let Some((without_proof, proof)) = message.rsplit_once(",p=") else {
            return malformed("The message does not end with a proof.");
        };
        let mut attributes = without_proof.split(',');
        let Some(binding) = attributes.next().and_then(|first| first.strip_prefix("c=")) else {
            return malformed("The message does not begin with the channel binding.");
        };
        let nonce = nonce(attributes.next())?;
        extensions(attributes)?;
        Ok(ClientFinal {
            binding: base64(binding)?,
            nonce,
            proof: base64(proof)?,
            without_proof: without_proof.into(),
        })
    }
}

fn binding_flag(flag: &str) -> Result<Flag, SaslFailure> {
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
    };
    match (flag, flag.strip_prefix("p=")) {
        ("n", _) => Ok(Flag::Unsupported),
        ("y", _) => Ok(Flag::Unoffered),
        (_, Some(name)) if is_name(name) => Ok(Flag::Bound(name.into())),
        _ => malformed("The gs2 header begins with no channel-binding flag."),
    }
}

fn authorization(part: &str) -> Result<Option<String>, SaslFailure> {
    match (part, part.strip_prefix("a=")) {
        ("", _) => Ok(None),
        (_, Some(name)) => saslname(name).map(Some),
        _ => malformed("The gs2 header holds something else than an authorization identity."),
    }
}

fn user(attribute: Option<&str>) -> Result<String, SaslFailure> {
    match attribute.unwrap_or_default().split_once('=') {
        Some(("n", name)) => saslname(name),
        Some(("m", _)) => malformed("Mandatory extensions are not supported."),
        _ => malformed("The user name is missing."),
    }
}

/// `saslname`: `=2C` and `=3D` stand for comma and equals sign, which cannot stand for themselves.
fn saslname(name: &str) -> Result<String, SaslFailure> {
    let mut pieces = name.split('=');
    let mut plain = String::from(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (escaped, rest) = match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return malformed("A name holds an equals sign that escapes nothing."),
        };
        plain.push(escaped);
        plain.push_str(rest);
    }
    if plain.is_empty() || plain.contains('\0') {
        return malformed("A name is empty or holds a null character.");
    }
    Ok(plain)
}

fn nonce(attribute: Option<&str>) -> Result<String, SaslFailure> {
    match attribute.unwrap_or_default().strip_prefix("r=") {
        Some(nonce)
            if (1..=MAX_NONCE_BYTES).contains(&nonce.len())
                && nonce.bytes().all(|b| b.is_ascii_graphic()) =>
        {
            Ok(nonce.into())
        }
        Some(_) => malformed("The nonce is empty, too long or not printable."),
        None => malformed("The nonce is missing."),
    }
}

/// Optional extensions are ignored, but they have to look like some: one letter, an equals sign, a value.
fn extensions<'a>(mut attributes: impl Iterator<Item = &'a str>) -> Result<(), SaslFailure> {
    let sound = attributes.all(|attribute| {
        let bytes = attribute.as_bytes();
        bytes.len() > 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b'=' && !bytes.contains(&0)
    });
    if sound { Ok(()) } else { malformed("Something stands where only an extension may.") }
}

fn text(message: &[u8]) -> Result<&str, SaslFailure> {
    std::str::from_utf8(message).or_else(|_| malformed("The message is not UTF-8."))
}

fn base64(text: &str) -> Result<Vec<u8>, SaslFailure> {
    STANDARD.decode(text).or_else(|_| malformed("Base64 inside the message is wrong."))
}

fn malformed<T>(text: &'static str) -> Result<T, SaslFailure> {
    Err(SaslCondition::MalformedRequest.because(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(message: &str) -> ClientFirst {
        ClientFirst::parse(message.as_bytes()).unwrap_or_else(|failure| panic!("{message}: {failure:?}"))
    }

    #[test]
    fn first_messages_are_read_in_all_their_forms() {
        let plain = first("n,,n=user,r=abc");
        assert_eq!((plain.flag, plain.authzid, &*plain.gs2_header), (Flag::Unsupported, None, "n,,"));
        assert_eq!((&*plain.bare, &*plain.username, &*plain.nonce), ("n=user,r=abc", "user", "abc"));
        let full = first("p=tls-exporter,a=me=2Cmyself,n=a=3Db=2Cc,r=abc!~,x=ext,y=more=");
        assert_eq!(
            (full.flag, full.authzid.as_deref()),
            (Flag::Bound("tls-exporter".into()), Some("me,myself"))
        );
        assert_eq!((&*full.gs2_header, &*full.username), ("p=tls-exporter,a=me=2Cmyself,", "a=b,c"));
        assert_eq!(&*full.bare, "n=a=3Db=2Cc,r=abc!~,x=ext,y=more=");
        assert_eq!(first("y,,n=J\u{fc}rgen,r=a").flag, Flag::Unoffered);
    }

    #[test]
    fn malformed_first_messages_are_refused() {
        let long_nonce = format!("n,,n=user,r={}", "a".repeat(MAX_NONCE_BYTES + 1));
        let cases = [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=user",
            "n,,n=user,",
            "n,,r=abc,n=user",
            "n,,r=abc",
            "n,,n=,r=abc",
            "n,,user,r=abc",
            "n=user,r=abc",
            ",,n=user,r=abc",
            "x,,n=user,r=abc",
            "N,,n=user,r=abc",
            "n=,,n=user,r=abc",
            "y=,,n=user,r=abc",
            "p,,n=user,r=abc",
            "p=,,n=user,r=abc",
            "p=a b,,n=user,r=abc",
            "p=tls_exporter,,n=user,r=abc",
            "n,a,n=user,r=abc",
            "n,a=,n=user,r=abc",
            "n,b=me,n=user,r=abc",
            "n,a=me=,n=user,r=abc",
            "n,a==2c,n=user,r=abc",
            "n,,n=us=er,r=abc",
            "n,,n=user=2,r=abc",
            "n,,n=user=3d,r=abc",
            "n,,n=us\0er,r=abc",
            "n,,m=ext,n=user,r=abc",
            "n,,n=user,r=",
            "n,,n=user,r=a b",
            "n,,n=user,r=a\u{e9}",
            "n,,n=user,r=a\0",
            "n,,n=user,r=a\x7f",
            "n,,n=user,r=abc,",
            "n,,n=user,r=abc,x",
            "n,,n=user,r=abc,x=",
            "n,,n=user,r=abc,1=a",
            "n,,n=user,r=abc,xy=a",
            "n,,n=user,r=abc,,x=a",
            &long_nonce,
        ];
        for message in cases {
            let failure = ClientFirst::parse(message.as_bytes()).unwrap_err();
            assert_eq!(failure.condition, SaslCondition::MalformedRequest, "{message:?}");
        }
        assert!(ClientFirst::parse(b"n,,n=us\xffer,r=abc").is_err());
    }

    #[test]
    fn final_messages_are_read_with_and_without_extensions() {
        for extension in ["", ",x=ext"] {
            let message = format!("c=biws,r=abc{extension},p=AAAA");
            let read = ClientFinal::parse(message.as_bytes()).unwrap();
            assert_eq!((&*read.binding, &*read.nonce, &*read.proof), (&b"n,,"[..], "abc", &[0; 3][..]));
            assert_eq!(read.without_proof, format!("c=biws,r=abc{extension}"));
        }
    }

    #[test]
    fn malformed_final_messages_are_refused() {
        let cases = [
            "",
            "c=biws",
            "c=biws,r=abc",
            "c=biws,p=AAAA",
            "r=abc,c=biws,p=AAAA",
            "r=abc,p=AAAA",
            "p=AAAA",
            "c=biws,r=abc,p=AAAA,x=ext",
            "c=biws,r=abc,p=AAA",
            "c=biws,r=abc,p=AA AA",
            "c=biws,r=abc,p=AAAA\n",
            "c=biw,r=abc,p=AAAA",
            "c=biw_,r=abc,p=AAAA",
            "c=biws,r=,p=AAAA",
            "c=biws,r=a b,p=AAAA",
            "c=biws,r=abc,x,p=AAAA",
            "c=biws,r=abc,,p=AAAA",
            "biws,r=abc,p=AAAA",
        ];
        for message in cases {
            let failure = ClientFinal::parse(message.as_bytes()).unwrap_err();
            assert_eq!(failure.condition, SaslCondition::MalformedRequest, "{message:?}");
        }
        assert!(ClientFinal::parse(b"c=biws,r=abc,p=\xff").is_err());
    }
}
