//! HTTP file upload (XEP-0363): users put files on the server's disk and share where they are.
//!
//! A client asks the service for a slot, puts the file there by HTTP once, and sends the address of it. Addresses hold 128
//! random bits. What a user may keep is limited in size and number; files go when they are old enough, when their slot was
//! not used in time, and with their owner's account. Files are written aside, flushed to the disk and renamed, so that
//! an interrupted upload leaves nothing that can be read; the server sends them piece by piece. Nothing that a file contains
//! is run by a browser in the name of the server: the answers forbid it.
//!
//! Slots and what is known of files are in stores, so that a swap between the request and the upload is not felt.

mod expiry;
mod files;
mod naming;
mod service;
mod slots;

use files::Files;
use moult_plugin_api::hooks::AccountArgs;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::hooks::Notice;
use std::sync::Arc;
use std::time::Duration;

/// XEP-0363.
const NS: &str = "urn:xmpp:http:upload:0";
/// How often old files are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1800);

module_options! {
    /// Options of mod_http_upload.
    pub struct Options {
        /// The service's domain; @HOST@ stands for the vhost.
        host: String = "upload.@HOST@", boot_only true;
        /// What service discovery calls it.
        name: String = "HTTP File Upload";
        /// The folder of the files. Without one the module has nothing to do.
        docroot: String = "", boot_only true;
        /// The path that the HTTP server gives to this module.
        path: String = "/upload/@HOST@", boot_only true;
        /// Where that path is seen from outside.
        url: String = "http://@HOST@:5280/upload/@HOST@", boot_only true;
        /// The largest file.
        max_size: u64 = 10485760, kind "\"size\"", min 1024, max 268435456, boot_only true;
        /// What one user may keep.
        quota: u64 = 104857600, kind "\"size\"", min 1024;
        /// Files that one user may keep.
        max_files: usize = 1000, min 1, max 100000;
        /// After what time files are deleted; 0 keeps them for ever.
        expire: Duration = "30d";
        /// How long a slot may wait for its file.
        slot_lifetime: Duration = "5m", min 1000, max 86400000;
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct Upload {
    host: Host,
    options: Live<Options>,
    files: Files,
    /// The public address, without a slash at its end.
    url: String,
    path: String,
}

impl Module for Upload {
    type Options = Options;
    const RELOADS: bool = true;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        if options.docroot.is_empty() {
            info!(host, "no option `docroot` says where files are kept: the module has nothing to do");
            return Ok(Started::Ignore);
        }
        let trimmed = |text: &str| host.expand(text).trim_end_matches('/').to_owned();
        let (url, path) = (trimmed(&options.url), trimmed(&options.path));
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err(Stop::new(format!("the option `url` is no address of HTTP: \"{url}\"")));
        }
        let files = Files::open(&host.expand(&options.docroot)).map_err(Stop::new)?;
        let longest = usize::try_from(options.max_size).unwrap_or(usize::MAX);
        host.on_stanza(&host.expand(&options.host), Self::stanza)?;
        host.on_http_path(&HttpSpec::new(path.as_str(), HttpAuth::None).max_body(longest), Self::http)?;
        host.every(SWEEP_INTERVAL, |this: Arc<Upload>, _: Tick| async move { this.sweep().await })?;
        host.on_user_removed(50, Self::removed)?;
        Started::running(Self { host: host.clone(), options: Live::new(options), files, url, path })
    }

    /// Where the service and its files are is decided at the start, and so is how much the HTTP server takes.
    fn on_reload(&self, options: Options, changed: bool) -> Result<Reload, Stop> {
        let place = |options: &Options| {
            let Options { host, docroot, path, url, max_size, .. } = options;
            [host.clone(), docroot.clone(), path.clone(), url.clone(), max_size.to_string()]
        };
        if place(&options) != place(&self.options.get()) {
            return Ok(Reload::Restart);
        }
        if changed {
            self.options.set(options);
        }
        Ok(Reload::Done)
    }
}

impl Upload {
    async fn removed(self: Arc<Self>, account: Notice<'static, AccountArgs>) {
        if let Err(error) = self.forget_all(account.jid.as_str()).await {
            error!(self.host.about(&account.jid), "files of a removed account stay: {error}");
        }
    }
}

export_module! {
    module: Upload,
    needs_minor: 1,
    xeps: ["0363" "1.1.0"],
}

#[cfg(test)]
mod tests;
