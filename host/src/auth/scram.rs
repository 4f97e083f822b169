//! SCRAM, the server side (RFC 5802; RFC 7677 for SHA-256; the same with SHA-512), with and without channel binding.
//!
//! Four messages: client-first names the user and a nonce; server-first adds salt, iteration count and our nonce;
//! client-final proves the knowledge of the password over all of it, the channel binding included; server-final proves
//! that we have the account's secrets. Unknown users get decoy secrets and fail at the proof like everybody else.

use aws_lc_rs::{constant_time, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::name::Name;
use super::sasl::{BindingType, ChannelBindings, Offer, SaslCondition, SaslFailure, Step};
use super::scram_messages::{ClientFinal, ClientFirst, Flag};
use super::{Hash, ScramSecrets};

/// Random bytes in our half of the nonce; in base64 they are 24 characters.
const NONCE_BYTES: usize = 18;

/// One exchange.
pub(super) struct Scram {
    hash: Hash,
    plus: bool,
    vhost: String,
    bindings: ChannelBindings,
    /// A `-PLUS` mechanism was announced: a client that says we have none was lied to.
    plus_announced: bool,
    server_nonce: String,
    state: State,
}

/// Named for what is awaited.
enum State {
    ClientFirst,
    Secrets { localpart: String, first: ClientFirst },
    ClientFinal(Box<ExpectFinal>),
    Nothing,
}

struct ExpectFinal {
    localpart: String,
    /// What `c=` has to hold: the gs2 header and the channel-binding data.
    binding: Vec<u8>,
    nonce: String,
    /// `client-first-message-bare "," server-first-message ","`.
    messages: String,
    secrets: ScramSecrets,
}

impl Scram {
    /// Awaits the client's first message.
    pub(super) fn new(offer: &Offer, hash: Hash, plus: bool) -> Result<Scram, SaslFailure> {
        let mut random = [0; NONCE_BYTES];
        rand::fill(&mut random).map_err(|_| SaslCondition::TemporaryAuthFailure)?;
        Ok(Scram::with_nonce(offer, hash, plus, STANDARD.encode(random)))
    }

    fn with_nonce(offer: &Offer, hash: Hash, plus: bool, server_nonce: String) -> Scram {
        Scram {
            hash,
            plus,
            vhost: offer.vhost.clone(),
            bindings: offer.bindings.clone(),
            plus_announced: offer.has_plus(),
            server_nonce,
            state: State::ClientFirst,
        }
    }

    /// Takes a message of the client.
    pub(super) fn respond(&mut self, response: &[u8]) -> Result<Step, SaslFailure> {
        match std::mem::replace(&mut self.state, State::Nothing) {
            State::ClientFirst => self.client_first(response),
            State::ClientFinal(expected) => self.client_final(response, &expected),
            State::Secrets { .. } | State::Nothing => Err(SaslCondition::MalformedRequest.into()),
        }
    }

    /// Takes the account's secrets, or a decoy, and answers server-first.
    pub(super) fn secrets(&mut self, secrets: ScramSecrets) -> Result<Step, SaslFailure> {
        let State::Secrets { localpart, first } = std::mem::replace(&mut self.state, State::Nothing) else {
            return Err(SaslCondition::MalformedRequest.into());
        };
        if secrets.hash != self.hash {
            return Err(SaslCondition::TemporaryAuthFailure.into());
        }
        let nonce = format!("{}{}", first.nonce, self.server_nonce);
        let salt = STANDARD.encode(&secrets.salt);
        let server_first = format!("r={nonce},s={salt},i={}", secrets.iterations);
        self.state = State::ClientFinal(Box::new(ExpectFinal {
            binding: self.expected_binding(&first)?,
            messages: format!("{},{server_first},", first.bare),
            localpart,
            nonce,
            secrets,
        }));
        Ok(Step::Challenge(server_first.into_bytes()))
    }

    fn client_first(&mut self, message: &[u8]) -> Result<Step, SaslFailure> {
        let first = ClientFirst::parse(message)?;
        self.check_flag(&first.flag)?;
        // What cannot be a name is nobody's name.
        let name = Name::parse(&self.vhost, &first.username).map_err(|_| SaslCondition::NotAuthorized)?;
        if !name.may_act_as(first.authzid.as_deref()) {
            return Err(SaslCondition::InvalidAuthzid.into());
        }
        let localpart = name.localpart;
        self.state = State::Secrets { localpart: localpart.clone(), first };
        Ok(Step::NeedSecrets { localpart, hash: self.hash })
    }

    /// The rules of RFC 5802 section 6: the flag fits the mechanism, and nobody hid our `-PLUS` forms from the client.
    fn check_flag(&self, flag: &Flag) -> Result<(), SaslFailure> {
        let refuse = |text| Err(SaslCondition::NotAuthorized.because(text));
        match (flag, self.plus) {
            (Flag::Bound(name), true) if self.binding(name).is_some() => Ok(()),
            (Flag::Bound(_), true) => refuse("This channel-binding type is not offered on this stream."),
            (Flag::Bound(_), false) => malformed("Channel binding needs the -PLUS form of the mechanism."),
            (_, true) => malformed("The -PLUS form of the mechanism needs channel binding."),
            (Flag::Unoffered, false) if self.plus_announced => {
                refuse("The server offers channel binding, but the client was not told so.")
            }
            (Flag::Unoffered | Flag::Unsupported, false) => Ok(()),
        }
    }

    fn binding(&self, name: &str) -> Option<&[u8]> {
        self.bindings.data(BindingType::from_name(name)?)
    }

    fn expected_binding(&self, first: &ClientFirst) -> Result<Vec<u8>, SaslFailure> {
        let mut expected = first.gs2_header.clone().into_bytes();
        if let Flag::Bound(name) = &first.flag {
            expected.extend(self.binding(name).ok_or(SaslCondition::NotAuthorized)?);
        }
        Ok(expected)
    }

    fn client_final(&self, message: &[u8], expected: &ExpectFinal) -> Result<Step, SaslFailure> {
        let message = ClientFinal::parse(message)?;
        if message.nonce != expected.nonce {
            return malformed("The nonce is not the one of this exchange.");
        }
        if constant_time::verify_slices_are_equal(&message.binding, &expected.binding).is_err() {
            return Err(SaslCondition::NotAuthorized.because("The channel binding does not match."));
        }
        let auth_message = format!("{}{}", expected.messages, message.without_proof);
        let signature = self.check_proof(&expected.secrets, &auth_message, &message.proof)?;
        let additional = Some(format!("v={}", STANDARD.encode(signature)).into_bytes());
        Ok(Step::Success { localpart: expected.localpart.clone(), additional })
    }

    /// `H(ClientProof XOR HMAC(StoredKey, AuthMessage)) = StoredKey`; answers the server's signature.
    fn check_proof(
        &self,
        secrets: &ScramSecrets,
        message: &str,
        proof: &[u8],
    ) -> Result<Vec<u8>, SaslFailure> {
        let signature = self.hash.hmac(&secrets.stored_key, message.as_bytes());
        if proof.len() != signature.as_ref().len() {
            return malformed("The proof has the wrong length.");
        }
        let client_key: Vec<u8> =
            proof.iter().zip(signature.as_ref()).map(|(proof, key)| proof ^ key).collect();
        let stored_key = self.hash.of(&client_key);
        match constant_time::verify_slices_are_equal(stored_key.as_ref(), &secrets.stored_key) {
            Ok(()) => Ok(self.hash.hmac(&secrets.server_key, message.as_bytes()).as_ref().to_vec()),
            Err(_) => Err(SaslCondition::NotAuthorized.into()),
        }
    }
}

fn malformed<T>(text: &'static str) -> Result<T, SaslFailure> {
    Err(SaslCondition::MalformedRequest.because(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mechanism;

    fn offer() -> Offer {
        Offer {
            vhost: "example.org".into(),
            encrypted: false,
            bindings: ChannelBindings::default(),
            allowed: Mechanism::ALL.to_vec(),
        }
    }

    struct Vector {
        hash: Hash,
        salt: &'static str,
        server_nonce: &'static str,
        client_first: &'static str,
        server_first: &'static str,
        client_final: &'static str,
        server_final: &'static str,
    }

    /// RFC 5802 section 5 and RFC 7677 section 3: user `user`, password `pencil`, 4096 iterations.
    const VECTORS: [Vector; 2] = [
        Vector {
            hash: Hash::Sha1,
            salt: "QSXCR+Q6sek8bf92",
            server_nonce: "3rfcNHYJY1ZVvWVs7j",
            client_first: "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
            server_first: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            client_final: "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            server_final: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        },
        Vector {
            hash: Hash::Sha256,
            salt: "W22ZaJ0SNY7soEsUEjb6gQ==",
            server_nonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            client_first: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            server_first: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            client_final: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            server_final: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        },
    ];

    #[test]
    fn the_examples_of_the_rfcs_pass() {
        for vector in VECTORS {
            let mut scram = Scram::with_nonce(&offer(), vector.hash, false, vector.server_nonce.into());
            let step = scram.respond(vector.client_first.as_bytes()).unwrap();
            assert!(
                matches!(step, Step::NeedSecrets { localpart, hash } if localpart == "user" && hash == vector.hash)
            );
            let salt = STANDARD.decode(vector.salt).unwrap();
            let secrets = ScramSecrets::derive(vector.hash, "pencil", salt, 4096);
            let Step::Challenge(challenge) = scram.secrets(secrets).unwrap() else { panic!("no challenge") };
            assert_eq!(String::from_utf8(challenge).unwrap(), vector.server_first);
            let step = scram.respond(vector.client_final.as_bytes()).unwrap();
            let Step::Success { localpart, additional: Some(data) } = step else { panic!("{step:?}") };
            assert_eq!((&*localpart, String::from_utf8(data).unwrap()), ("user", vector.server_final.into()));
        }
    }

    #[test]
    fn every_exchange_has_a_nonce_of_its_own() {
        let nonces: std::collections::HashSet<_> =
            (0..100).map(|_| Scram::new(&offer(), Hash::Sha1, false).unwrap().server_nonce).collect();
        assert_eq!(nonces.len(), 100);
        assert!(nonces.iter().all(|nonce| nonce.len() == 24 && !nonce.contains(',')));
    }
}
