//! Accounts out of the server, into files of XEP-0227: one for each vhost, and one that includes them.
//!
//! An account is written piece by piece, so that its length does not matter; one that cannot be written whole is taken back
//! out of the file. The files get their names when they are complete, and nothing is ever overwritten.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use moult_plugin_api::hooks::{ExportArgs, ExportPart};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt, BufWriter};

use super::{PIE, Report, XINCLUDE, credentials};
use crate::plugin::call::{HookFunction, Modules};
use crate::plugin::hook::HookPoint;
use crate::server::shared::Shared;
use crate::stanza::Jid;
use crate::storage::MAX_PAGE_ROWS;
use crate::xml::{Element, Limits, push_attribute};

const HEAD: &str = "<?xml version='1.0' encoding='UTF-8'?>\n";
/// The file that includes those of the vhosts.
const MAIN: &str = "server-data.xml";
/// Of one element that a module gives.
const LIMITS: Limits =
    Limits { stanza_bytes: 16 << 20, depth: 512, attributes: 1024, token_bytes: 8 << 20, declarations: 256 };

/// All vhosts into new files in a folder.
pub(in crate::server) async fn all(shared: &Arc<Shared>, folder: &Path) -> Result<Report, String> {
    let mut report = Report::default();
    let hosts: Vec<String> = shared.config().vhosts.keys().cloned().collect();
    let main = Unfinished::create(folder.join(MAIN)).await?;
    let mut text = format!("{HEAD}<server-data xmlns='{PIE}' xmlns:xi='{XINCLUDE}'>\n");
    let mut files = vec![];
    for host in &hosts {
        let mut file = Unfinished::create(host_file(folder, host)).await?;
        write_host(shared, &mut file, host, false, &mut report).await?;
        files.push(file);
        text += "<xi:include href='";
        push_attribute(&mut text, &format!("{host}.xml"));
        text += "'/>\n";
    }
    let mut main = main;
    main.write(&text).await?;
    main.write("</server-data>\n").await?;
    files.push(main);
    for file in files {
        file.finish().await?;
    }
    Ok(report)
}

/// One vhost into a new file in a folder.
pub(in crate::server) async fn host(
    shared: &Arc<Shared>,
    folder: &Path,
    host: &str,
) -> Result<Report, String> {
    let mut report = Report::default();
    let mut file = Unfinished::create(host_file(folder, host)).await?;
    write_host(shared, &mut file, host, true, &mut report).await?;
    file.finish().await?;
    Ok(report)
}

fn host_file(folder: &Path, host: &str) -> PathBuf {
    folder.join(format!("{host}.xml"))
}

async fn write_host(
    shared: &Arc<Shared>,
    file: &mut Unfinished,
    host: &str,
    alone: bool,
    report: &mut Report,
) -> Result<(), String> {
    file.write(HEAD).await?;
    let mut open = if alone {
        format!("<server-data xmlns='{PIE}'>\n<host jid='")
    } else {
        format!("<host xmlns='{PIE}' jid='")
    };
    push_attribute(&mut open, host);
    file.write(&open).await?;
    file.write("'>\n").await?;
    let mut after: Option<String> = None;
    loop {
        let page = shared.accounts.list(host, after.as_deref(), MAX_PAGE_ROWS).await;
        let page = page.map_err(|error| error.to_string())?;
        for user in &page.keys {
            let from = file.position().await?;
            match write_user(shared, file, host, user).await {
                Ok(true) => report.done += 1,
                // Removed meanwhile.
                Ok(false) => {}
                Err(Failure::File(why)) => return Err(why),
                Err(Failure::Module(why)) => {
                    file.back_to(from).await?;
                    report.failed += 1;
                    report.note(format!("{user}@{host} was left out: {}.", why.trim_end_matches('.')));
                }
            }
        }
        after = page.keys.last().cloned();
        if !page.more {
            break;
        }
    }
    file.write("</host>\n").await?;
    if alone { file.write("</server-data>\n").await } else { Ok(()) }
}

/// Whose fault it is that an account was not written.
enum Failure {
    /// The file's: there is no sense in going on.
    File(String),
    /// A module's: the next account is written.
    Module(String),
}

async fn write_user(
    shared: &Arc<Shared>,
    file: &mut Unfinished,
    host: &str,
    user: &str,
) -> Result<bool, Failure> {
    let account =
        Jid::from_parts(Some(user), host, None).map_err(|error| Failure::Module(error.to_string()))?;
    let secrets = match shared.accounts.all_secrets(host, user).await {
        Ok(secrets) => secrets,
        Err(crate::auth::AuthError::NoSuchAccount { .. }) => return Ok(false),
        Err(error) => return Err(Failure::Module(error.to_string())),
    };
    let mut text = String::from("<user name='");
    push_attribute(&mut text, user);
    text += "'>\n";
    for secrets in &secrets {
        text += &credentials::write(secrets);
        text.push('\n');
    }
    file.write(&text).await.map_err(Failure::File)?;
    let modules = shared.manager.modules();
    for function in modules.hook_functions(HookPoint::ExportUser, host) {
        write_parts(&modules, &function, file, &account).await?;
    }
    file.write("</user>\n").await.map_err(Failure::File)?;
    Ok(true)
}

/// What one module keeps of an account, part by part.
async fn write_parts(
    modules: &Modules,
    function: &HookFunction,
    file: &mut Unfinished,
    account: &Jid,
) -> Result<(), Failure> {
    let (mut cursor, mut within) = (String::new(), Holder::default());
    loop {
        let args = serde_json::to_string(&ExportArgs { cursor }).unwrap_or_default();
        let point = HookPoint::ExportUser;
        let answer =
            modules.hook_single(point, function, account, &args, b"").await.map_err(Failure::Module)?;
        if answer.body.is_empty() {
            break;
        }
        let odd = |why: String| Failure::Module(format!("{} gave what is no data: {why}", function.owner()));
        let part: ExportPart =
            serde_json::from_slice(&answer.body).map_err(|error| odd(error.to_string()))?;
        let mut text = String::new();
        if !part.elements.is_empty() {
            within.change(&part.within, &mut text).map_err(odd)?;
        }
        for element in &part.elements {
            let element = Element::parse(element, &LIMITS).map_err(|error| odd(error.to_string()))?;
            element.write(&mut text, within.namespace());
            text.push('\n');
        }
        file.write(&text).await.map_err(Failure::File)?;
        match part.next {
            Some(next) => cursor = next,
            None => break,
        }
    }
    let mut text = String::new();
    within.close(&mut text);
    file.write(&text).await.map_err(Failure::File)
}

/// The element that holds the parts of a module, while it is open.
#[derive(Default)]
struct Holder {
    given: String,
    element: Option<Element>,
}

impl Holder {
    fn namespace(&self) -> &str {
        self.element.as_ref().map_or(PIE, Element::namespace)
    }

    fn change(&mut self, given: &str, out: &mut String) -> Result<(), String> {
        if self.given == given {
            return Ok(());
        }
        self.close(out);
        self.given = given.to_owned();
        if given.is_empty() {
            return Ok(());
        }
        let element = Element::parse(given, &LIMITS).map_err(|error| error.to_string())?;
        if !element.nodes().is_empty() {
            return Err("a holder has content".into());
        }
        let mut tag = String::new();
        element.write(&mut tag, PIE);
        out.push_str(tag.strip_suffix("/>").ok_or("a holder is no empty element")?);
        out.push_str(">\n");
        self.element = Some(element);
        Ok(())
    }

    fn close(&mut self, out: &mut String) {
        if let Some(element) = self.element.take() {
            out.push_str(&format!("</{}>\n", element.name()));
        }
        self.given.clear();
    }
}

/// A file under another name until it is complete; gone when it does not come to that.
struct Unfinished {
    path: PathBuf,
    name: PathBuf,
    out: BufWriter<File>,
}

impl Unfinished {
    /// For its owner alone: it holds secrets.
    async fn create(name: PathBuf) -> Result<Self, String> {
        if name.exists() {
            return Err(format!("{} is there already, and nothing is overwritten", name.display()));
        }
        let mut path = name.clone().into_os_string();
        path.push(format!(".{}.part", std::process::id()));
        let path = PathBuf::from(path);
        let mut options = tokio::fs::OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(&path).await;
        let out = BufWriter::new(opened.map_err(|error| unwritable(&path, &error))?);
        Ok(Self { path, name, out })
    }

    async fn write(&mut self, text: &str) -> Result<(), String> {
        self.out.write_all(text.as_bytes()).await.map_err(|error| unwritable(&self.path, &error))
    }

    async fn position(&mut self) -> Result<u64, String> {
        let done = async {
            self.out.flush().await?;
            self.out.get_mut().stream_position().await
        };
        done.await.map_err(|error| unwritable(&self.path, &error))
    }

    async fn back_to(&mut self, position: u64) -> Result<(), String> {
        let done = async {
            self.out.flush().await?;
            let file = self.out.get_mut();
            file.set_len(position).await?;
            file.seek(std::io::SeekFrom::Start(position)).await
        };
        done.await.map(drop).map_err(|error| unwritable(&self.path, &error))
    }

    async fn finish(mut self) -> Result<(), String> {
        let done = async {
            self.out.flush().await?;
            self.out.get_mut().sync_all().await?;
            // A name that has been taken meanwhile is not overwritten.
            tokio::fs::hard_link(&self.path, &self.name).await
        };
        done.await.map_err(|error| unwritable(&self.name, &error))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Its second name, if it got one, stays.
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "an unfinished file stays");
        }
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be written: {error}", path.display())
}
