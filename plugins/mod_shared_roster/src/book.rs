//! Groups in the store: a map per group, with a field for what it is called and one for each member and each displayed
//! group, so that changes by two generations during a swap do not undo each other.
//!
//! What was read is kept with a stamp that every change renews, so that a question costs one small read.

use crate::groups::{Group, Groups};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::digest::random_token;
use moult_plugin_api::sdk::store::{KeyVal, Map, MapChange};
use moult_plugin_api::serde::{Deserialize, Serialize};
use moult_plugin_api::serde_json;
use std::sync::{Arc, Mutex, PoisonError};

const STAMP: &str = "stamp";
const PAGE: usize = 500;

/// The groups of a vhost.
#[derive(Debug)]
pub struct Book {
    map: Map,
    meta: KeyVal,
    /// With their stamp.
    read: Mutex<Option<(Vec<u8>, Arc<Groups>)>>,
}

/// What there is to say of a group besides who is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde", default)]
pub struct About {
    /// What it is called in rosters.
    pub label: String,
    /// For administrators.
    pub description: String,
}

/// A field of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// [`About`].
    About,
    /// Every account is a member.
    All,
    /// Everybody is a member who has a session.
    Online,
    /// This account is a member.
    Member(String),
    /// This group is displayed.
    Displayed(String),
}

impl Field {
    fn name(&self) -> String {
        match self {
            Field::About => "about".to_owned(),
            Field::All => "all".to_owned(),
            Field::Online => "online".to_owned(),
            Field::Member(jid) => format!("m:{jid}"),
            Field::Displayed(id) => format!("d:{id}"),
        }
    }
}

impl Book {
    /// Of this vhost.
    pub fn open(host: &Host) -> Self {
        Self { map: host.map("groups"), meta: host.keyval("meta"), read: Mutex::default() }
    }

    /// All groups as they are now.
    pub async fn groups(&self) -> Result<Arc<Groups>, HostError> {
        let stamp = self.meta.get(STAMP).await?.unwrap_or_default();
        let known = self.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((of, groups)) = known
            && of == stamp
        {
            return Ok(groups);
        }
        let groups = Arc::new(self.load().await?);
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some((stamp, Arc::clone(&groups)));
        Ok(groups)
    }

    async fn load(&self) -> Result<Groups, HostError> {
        let (mut groups, mut after) = (Groups::new(), String::new());
        loop {
            let ids = self.map.keys("", &after, PAGE).await?;
            for id in &ids {
                let mut group = Group::default();
                for (field, value) in self.map.all(id).await? {
                    put(&mut group, &field, &value);
                }
                groups.insert(id.clone(), group);
            }
            match ids.last() {
                Some(last) if ids.len() == PAGE => after.clone_from(last),
                _ => return Ok(groups),
            }
        }
    }

    /// Makes or renames a group.
    pub async fn describe(&self, id: &str, about: &About) -> Result<(), HostError> {
        let about = serde_json::to_vec(about).map_err(|error| HostError {
            condition: "internal-server-error".into(),
            text: format!("a group cannot be written: {error}"),
        })?;
        self.write(id, MapChange::new().set(&Field::About.name(), &about)).await
    }

    /// Sets these fields, or takes them away.
    pub async fn mark(&self, id: &str, fields: &[Field], is_set: bool) -> Result<(), HostError> {
        let change = fields.iter().fold(MapChange::new(), |change, field| {
            if is_set { change.set(&field.name(), b"") } else { change.delete(&field.name()) }
        });
        self.write(id, change).await
    }

    async fn write(&self, id: &str, change: MapChange) -> Result<(), HostError> {
        self.map.update(id, &change).await?;
        self.renew().await
    }

    /// Forgets a group.
    pub async fn remove(&self, id: &str) -> Result<(), HostError> {
        self.map.delete(id).await?;
        self.renew().await
    }

    async fn renew(&self) -> Result<(), HostError> {
        let stamp = random_token(12).map_err(|error| HostError {
            condition: "internal-server-error".into(),
            text: format!("the system gave no random bytes: {error}"),
        })?;
        self.meta.set(STAMP, stamp.as_bytes()).await
    }
}

fn put(group: &mut Group, field: &str, value: &[u8]) {
    match field.split_once(':') {
        None if field == "all" => group.all = true,
        None if field == "online" => group.online = true,
        None if field == "about" => {
            let About { label, description } = serde_json::from_slice(value).unwrap_or_default();
            (group.label, group.description) = (label, description);
        }
        Some(("m", jid)) => drop(group.members.insert(jid.to_owned())),
        Some(("d", id)) => drop(group.displayed.insert(id.to_owned())),
        // Of a build to come.
        _ => {}
    }
}
