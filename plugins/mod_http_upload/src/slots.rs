//! Slots: made on request, filled once by HTTP, read until they are old.

use crate::Upload;
use crate::naming::{decoded, encoded};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::now_ms;
use moult_plugin_api::sdk::digest::random_token;
use moult_plugin_api::sdk::store::{KeyVal, Map, MapChange};
use moult_plugin_api::serde::{Deserialize, Serialize};
use moult_plugin_api::serde_json;
use std::sync::Arc;

/// Types that a browser may show in place; everything else is offered for saving.
const SHOWN: [&str; 10] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/avif",
    "audio/mpeg",
    "audio/ogg",
    "video/mp4",
    "video/webm",
    "text/plain",
];

/// A slot, and its file once it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
pub struct Slot {
    pub owner: String,
    pub name: String,
    pub size: u64,
    pub kind: String,
    /// When it was asked for, in milliseconds since 1970.
    pub at: i64,
    /// Whether its file is there.
    pub stored: bool,
}

impl Upload {
    /// By token.
    pub(crate) fn slots(&self) -> KeyVal {
        self.host.keyval("slots")
    }

    /// By owner; the fields are tokens.
    pub(crate) fn owners(&self) -> Map {
        self.host.map("owners")
    }

    /// Keeps a slot for its owner and gives its public address.
    pub(crate) async fn make(&self, slot: &Slot) -> Result<String, StanzaError> {
        let token = random_token(16).map_err(|e| StanzaError::internal(format!("no random bytes: {e}")))?;
        // The owner's list first: what is in it is found again by the sweep of the account.
        let listed = MapChange::new().set(&token, slot.size.to_string().as_bytes());
        self.owners().update(&slot.owner, &listed).await?;
        self.slots().set_json(&token, slot).await?;
        Ok(format!("{}/{token}/{}", self.url, encoded(&slot.name)))
    }

    /// What an owner keeps: bytes and files, slots that wait for their file included.
    pub(crate) async fn used(&self, owner: &str) -> Result<(u64, usize), HostError> {
        let listed = self.owners().all(owner).await?;
        let size =
            |bytes: &Vec<u8>| std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<u64>().ok());
        Ok((listed.values().filter_map(size).sum(), listed.len()))
    }

    /// Removes a slot with its file.
    pub(crate) async fn forget(&self, token: &str, owner: &str) -> Result<(), Stop> {
        self.files.remove(token)?;
        self.slots().delete(token).await?;
        self.owners().update(owner, &MapChange::new().delete(token)).await?;
        Ok(())
    }

    pub(crate) fn is_waiting(&self, slot: &Slot) -> bool {
        let lifetime = i64::try_from(self.options.get().slot_lifetime.as_millis()).unwrap_or(i64::MAX);
        !slot.stored && now_ms().saturating_sub(slot.at) <= lifetime
    }

    pub(crate) async fn http(self: Arc<Self>, request: HttpRequest<'static>) -> HttpResponse {
        let answer = match &*request.method {
            "OPTIONS" => HttpResponse::text(204, ""),
            "PUT" => self.put(&request).await,
            "GET" | "HEAD" => self.get(&request).await,
            _ => {
                HttpResponse::text(405, "Files are put and got.\n").header("allow", "GET, HEAD, PUT, OPTIONS")
            }
        };
        // Clients in browsers live on other domains (XEP-0363 8.2).
        answer
            .header("access-control-allow-origin", "*")
            .header("access-control-allow-methods", "GET, HEAD, PUT, OPTIONS")
            .header("access-control-allow-headers", "Content-Type")
            .header("access-control-max-age", "7200")
    }

    /// The token and the slot of a path, where the name is right as well.
    async fn find(&self, request: &HttpRequest<'_>) -> Result<(String, Slot), HttpResponse> {
        let nothing = || HttpResponse::text(404, "There is nothing at this path.\n");
        let rest = request.path.strip_prefix(&self.path).and_then(|rest| rest.strip_prefix('/'));
        let (token, name) = rest.and_then(|rest| rest.split_once('/')).ok_or_else(nothing)?;
        let is_token =
            token.len() == 22 && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        let name = decoded(name).filter(|_| is_token).ok_or_else(nothing)?;
        let slot: Option<Slot> = self.slots().get_json(token).await.map_err(|error| {
            warn!(self.host, "a slot cannot be read: {error}");
            HttpResponse::text(503, "The store does not answer; try again later.\n")
        })?;
        slot.filter(|slot| slot.name == name).map(|slot| (token.to_owned(), slot)).ok_or_else(nothing)
    }

    async fn put(&self, request: &HttpRequest<'_>) -> HttpResponse {
        let (token, slot) = match self.find(request).await {
            Ok(found) => found,
            Err(refusal) => return refusal,
        };
        if !self.is_waiting(&slot) {
            return HttpResponse::text(403, "This slot was used or is too old.\n");
        }
        if request.body.len() as u64 != slot.size {
            return HttpResponse::text(413, format!("The slot is for a file of {} bytes.\n", slot.size));
        }
        let kind = request.header("content-type").unwrap_or_default();
        if !slot.kind.is_empty() && !kind.is_empty() && kind != slot.kind {
            return HttpResponse::text(415, format!("The slot is for a file of type {}.\n", slot.kind));
        }
        match self.store(&token, slot, &request.body).await {
            Ok(()) => HttpResponse::text(201, "The file is there.\n"),
            Err(error) => {
                error!(self.host, "a file could not be stored: {}", error.0);
                HttpResponse::text(507, "The file could not be stored.\n")
            }
        }
    }

    async fn store(&self, token: &str, slot: Slot, content: &[u8]) -> Result<(), Stop> {
        self.files.write(token, content)?;
        self.slots().set_json(token, &Slot { stored: true, ..slot }).await?;
        self.host.count("files", 1);
        self.host.count("bytes", content.len() as u64);
        Ok(())
    }

    async fn get(&self, request: &HttpRequest<'_>) -> HttpResponse {
        let (token, slot) = match self.find(request).await {
            Ok((token, slot)) if slot.stored => (token, slot),
            Ok(_) => return HttpResponse::text(404, "There is nothing at this path.\n"),
            Err(refusal) => return refusal,
        };
        let kind = if slot.kind.is_empty() { "application/octet-stream" } else { &slot.kind };
        let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let place = if SHOWN.contains(&essence.as_str()) { "inline" } else { "attachment" };
        HttpResponse::file(&self.files.path(&token))
            .header("content-type", kind)
            .header("content-disposition", &format!("{place}; filename*=UTF-8''{}", encoded(&slot.name)))
            .header("content-security-policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
            .header("cache-control", "public, max-age=31536000, immutable")
    }
}

/// Whether a text can be a media type in a header.
pub fn is_media_type(text: &str) -> bool {
    text.len() <= 200 && text.bytes().all(|b| (0x20..0x7f).contains(&b))
}

impl Slot {
    /// As it is stored, for the sweep.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}
