//! Reads a document of XEP-0227 piece by piece: hosts, users, and the children of users as XML that stands alone.
//!
//! Nothing is kept but the piece at hand. A child that holds a list (roster, private data, offline messages, archive,
//! privacy lists) comes in several pieces of the same name. XInclude is followed as the specification asks (4: relative
//! references, not within a child of a user), never out of the folder of the first file. Entities and document types are
//! refused, and so is everything that is longer or deeper than a limit.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::{PIE, PIE_MAM, XINCLUDE};

/// The longest piece, tag or text.
const MAX_PIECE: usize = 4 << 20;
/// A list is passed on when it has so many bytes or so many elements.
const LIST_BYTES: usize = 128 << 10;
const LIST_ITEMS: usize = 200;
/// Elements within each other, and files within each other.
const MAX_DEPTH: usize = 200;
const MAX_FILES: usize = 8;

/// The elements under `<user/>` whose children can be taken in one by one.
const LISTS: [(&str, &str); 4] = [
    (PIE, "offline-messages"),
    (PIE_MAM, "archive"),
    ("jabber:iq:roster", "query"),
    ("jabber:iq:private", "query"),
];

/// A piece of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// The users that follow belong to this host.
    Host(String),
    /// A user begins.
    User { name: String, password: Option<String> },
    /// A child of the user, or a part of one.
    Child(String),
    /// The user ends.
    EndOfUser,
    /// Something that is not understood, and where it stands.
    Foreign(String),
}

/// Reads the document in `file`, and gives its pieces to `take` until that says no. Blocks on file I/O.
pub(super) fn read(file: &Path, take: &mut dyn FnMut(Piece) -> bool) -> Result<(), String> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let folder = folder.canonicalize().map_err(|error| unreadable(folder, &error))?;
    let mut document = Document {
        folder,
        take,
        open: Vec::new(),
        scope: Vec::new(),
        files: 0,
        is_begun: false,
        is_over: false,
    };
    document.file(file)?;
    match document.is_begun {
        true => Ok(()),
        false => Err(format!("{} is empty", file.display())),
    }
}

/// What an open element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Host,
    User,
    /// Not understood, with everything in it.
    Foreign,
}

struct Document<'t> {
    /// Included files lie in here.
    folder: PathBuf,
    take: &'t mut dyn FnMut(Piece) -> bool,
    open: Vec<Kind>,
    /// Namespace declarations in scope, with the depth at which they hold: prefix and namespace.
    scope: Vec<(usize, String, String)>,
    files: usize,
    /// There was an element.
    is_begun: bool,
    is_over: bool,
}

/// A file being read. One event may take `left` bytes.
struct Bounded {
    file: BufReader<File>,
    left: usize,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl BufRead for Bounded {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Err(io::Error::other(format!("a tag or a text has more than {MAX_PIECE} bytes")));
        }
        let left = self.left;
        let buffer = self.file.fill_buf()?;
        Ok(&buffer[..buffer.len().min(left)])
    }

    fn consume(&mut self, amount: usize) {
        self.left -= amount.min(self.left);
        self.file.consume(amount);
    }
}

/// A child of a user under way.
struct Child {
    /// The tag of the child itself, with every declaration in scope.
    head: String,
    name: String,
    /// Where it is a list, its children are passed on by and by.
    is_list: bool,
    text: String,
    depth: usize,
    items: usize,
    /// Something has been passed on.
    is_begun: bool,
}

impl Document<'_> {
    fn file(&mut self, path: &Path) -> Result<(), String> {
        if self.files == MAX_FILES {
            return Err(format!("{}: files include each other {MAX_FILES} deep", path.display()));
        }
        self.files += 1;
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        let mut reader = Reader::from_reader(Bounded { file: BufReader::new(file), left: MAX_PIECE });
        let outside = (self.open.len(), std::mem::take(&mut self.scope));
        let read = self.events(&mut reader, path);
        read.map_err(|why| format!("{}, byte {}: {why}", path.display(), reader.buffer_position()))?;
        if self.open.len() != outside.0 && !self.is_over {
            return Err(format!("{}: it ends within an element", path.display()));
        }
        self.scope = outside.1;
        self.files -= 1;
        Ok(())
    }

    fn events(&mut self, reader: &mut Reader<Bounded>, path: &Path) -> Result<(), String> {
        let (mut buffer, mut child): (Vec<u8>, Option<Child>) = (Vec::new(), None);
        while !self.is_over {
            buffer.clear();
            reader.get_mut().left = MAX_PIECE;
            let event = reader.read_event_into(&mut buffer).map_err(|error| error.to_string())?;
            match event {
                Event::Eof => break,
                Event::DocType(_) => return Err("a document type is not allowed".into()),
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
                event => match &mut child {
                    Some(_) => self.inside(&mut child, event)?,
                    None => self.outside(&mut child, event, path)?,
                },
            }
        }
        Ok(())
    }

    /// Above the children of users.
    fn outside(&mut self, child: &mut Option<Child>, event: Event<'_>, path: &Path) -> Result<(), String> {
        match event {
            Event::Start(tag) => self.start(child, &tag, false, path),
            Event::Empty(tag) => self.start(child, &tag, true, path),
            Event::End(_) => {
                self.end();
                Ok(())
            }
            // Between the elements there is nothing to read.
            _ => Ok(()),
        }
    }

    fn start(
        &mut self,
        child: &mut Option<Child>,
        tag: &BytesStart<'_>,
        is_empty: bool,
        path: &Path,
    ) -> Result<(), String> {
        self.is_begun = true;
        let attributes = attributes(tag)?;
        let depth = self.open.len();
        if depth >= MAX_DEPTH {
            return Err(format!("elements lie {MAX_DEPTH} deep"));
        }
        self.declare(depth, &attributes);
        let (ns, name) = self.resolve(tag_name(tag));
        let is_include = ns == XINCLUDE && name == "include";
        let parent = self.open.last().copied();
        if is_include && parent != Some(Kind::Foreign) {
            self.open.push(Kind::Foreign);
            if is_empty {
                self.end();
            }
            return self.include(&attributes, path, is_empty);
        }
        let kind = match (parent, ns.as_str(), name.as_str()) {
            (None | Some(Kind::Data), PIE, "server-data") => Kind::Data,
            (None | Some(Kind::Data), PIE, "host") => {
                self.give(Piece::Host(attribute(&attributes, "jid")?));
                Kind::Host
            }
            (Some(Kind::Host), PIE, "user") => {
                let password = attributes.iter().find(|(name, _)| name == "password");
                let password = password.map(|(_, value)| value.clone());
                self.give(Piece::User { name: attribute(&attributes, "name")?, password });
                Kind::User
            }
            (Some(Kind::User), ..) => return self.begin_child(child, tag, (&ns, &name), is_empty),
            (Some(Kind::Foreign), ..) => Kind::Foreign,
            (None, ..) => {
                return Err(format!("it begins with <{name}/> of «{ns}», which is no data of users"));
            }
            _ => {
                self.give(Piece::Foreign(format!("<{name}/> of «{ns}»")));
                Kind::Foreign
            }
        };
        self.open.push(kind);
        if is_empty {
            self.end();
        }
        Ok(())
    }

    fn end(&mut self) {
        if self.open.pop() == Some(Kind::User) {
            self.give(Piece::EndOfUser);
        }
        self.undeclare();
    }

    fn include(
        &mut self,
        attributes: &[(String, String)],
        from: &Path,
        is_empty: bool,
    ) -> Result<(), String> {
        if !is_empty {
            return Err("an <include/> with content is not supported".into());
        }
        if attributes.iter().any(|(name, _)| matches!(name.as_str(), "parse" | "xpointer")) {
            return Err("an <include/> with `parse` or `xpointer` is not supported".into());
        }
        let reference = attribute(attributes, "href")?;
        let path = percent_decoded(&reference).filter(|path| !path.contains(':') && !path.starts_with('/'));
        let path = path.ok_or_else(|| format!("«{reference}» is no relative reference to a file"))?;
        let path = from.parent().unwrap_or(Path::new("/")).join(path);
        let real = path.canonicalize().map_err(|error| unreadable(&path, &error))?;
        if !real.starts_with(&self.folder) {
            return Err(format!("«{reference}» leads out of {}", self.folder.display()));
        }
        self.file(&real)
    }

    /// A child of a user.
    fn begin_child(
        &mut self,
        child: &mut Option<Child>,
        tag: &BytesStart<'_>,
        (ns, name): (&str, &str),
        is_empty: bool,
    ) -> Result<(), String> {
        let mut head = format!("<{}", &**tag);
        let own: Vec<String> =
            attributes(tag)?.into_iter().filter_map(|(name, _)| declared(&name).map(str::to_owned)).collect();
        let mut written: Vec<&str> = own.iter().map(String::as_str).collect();
        for (_, prefix, namespace) in self.scope.iter().rev() {
            if !written.contains(&prefix.as_str()) {
                written.push(prefix);
                head += &declaration(prefix, namespace);
            }
        }
        let full = tag_name(tag).to_owned();
        if is_empty {
            self.give(Piece::Child(format!("{head}/>")));
            self.undeclare();
            return Ok(());
        }
        let is_list = LISTS.contains(&(ns, name));
        *child = Some(Child {
            head,
            name: full,
            is_list,
            text: String::new(),
            depth: 0,
            items: 0,
            is_begun: false,
        });
        Ok(())
    }

    /// Within a child of a user: everything is passed on as it is.
    fn inside(&mut self, child: &mut Option<Child>, event: Event<'_>) -> Result<(), String> {
        let Some(open) = child else { return Ok(()) };
        match event {
            Event::Start(tag) => {
                open.text += &format!("<{}>", &*tag);
                open.depth += 1;
            }
            Event::Empty(tag) => {
                open.text += &format!("<{}/>", &*tag);
                open.items += usize::from(open.depth == 0);
            }
            Event::End(_) if open.depth == 0 => {
                let last = !open.is_begun || !open.text.trim().is_empty();
                let piece = last.then(|| open.piece());
                *child = None;
                self.undeclare();
                piece.into_iter().for_each(|piece| self.give(piece));
                return Ok(());
            }
            Event::End(tag) => {
                open.text += &format!("</{}>", &*tag);
                open.depth -= 1;
                open.items += usize::from(open.depth == 0);
            }
            Event::Text(text) => open.text += &text,
            Event::CData(text) => open.text += &format!("<![CDATA[{}]]>", &*text),
            Event::GeneralRef(name) => open.text += &format!("&{};", &*name),
            _ => {}
        }
        if open.depth > MAX_DEPTH {
            return Err(format!("elements lie {MAX_DEPTH} deep"));
        }
        if open.text.len() > MAX_PIECE {
            return Err(format!("an element of a user has more than {MAX_PIECE} bytes"));
        }
        let is_full = open.text.len() >= LIST_BYTES || open.items >= LIST_ITEMS;
        if open.is_list && open.depth == 0 && open.items > 0 && is_full {
            let piece = open.piece();
            self.give(piece);
        }
        Ok(())
    }

    fn give(&mut self, piece: Piece) {
        self.is_over |= !(self.take)(piece);
    }

    fn declare(&mut self, depth: usize, attributes: &[(String, String)]) {
        for (name, value) in attributes {
            if let Some(prefix) = declared(name) {
                self.scope.push((depth, prefix.to_owned(), value.clone()));
            }
        }
    }

    /// Forgets what the element that has just ended declared.
    fn undeclare(&mut self) {
        let depth = self.open.len();
        self.scope.retain(|(at, ..)| *at < depth);
    }

    fn resolve(&self, name: &str) -> (String, String) {
        let (prefix, local) = name.split_once(':').unwrap_or(("", name));
        let bound = self.scope.iter().rev().find(|(_, declared, _)| declared == prefix);
        (bound.map(|(.., namespace)| namespace.clone()).unwrap_or_default(), local.to_owned())
    }
}

impl Child {
    /// What has come since the last piece, in a tag of the child's own.
    fn piece(&mut self) -> Piece {
        self.is_begun = true;
        self.items = 0;
        let text = std::mem::take(&mut self.text);
        Piece::Child(format!("{}>{text}</{}>", self.head, self.name))
    }
}

fn tag_name<'a>(tag: &'a BytesStart<'_>) -> &'a str {
    tag.name().into_inner()
}

/// The prefix that an attribute declares.
fn declared(name: &str) -> Option<&str> {
    if name == "xmlns" { Some("") } else { name.strip_prefix("xmlns:") }
}

fn declaration(prefix: &str, namespace: &str) -> String {
    let mut value = String::new();
    crate::xml::push_attribute(&mut value, namespace);
    match prefix {
        "" => format!(" xmlns='{value}'"),
        prefix => format!(" xmlns:{prefix}='{value}'"),
    }
}

fn attributes(tag: &BytesStart<'_>) -> Result<Vec<(String, String)>, String> {
    let all = tag.attributes().map(|attribute| {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let value = crate::xml::escape::unescape_attribute(&attribute.value).into_owned();
        Ok((attribute.key.into_inner().to_owned(), value))
    });
    all.collect()
}

fn attribute(attributes: &[(String, String)], name: &str) -> Result<String, String> {
    let found = attributes.iter().find(|(other, _)| other == name);
    found.map(|(_, value)| value.clone()).ok_or_else(|| format!("an element lacks the attribute «{name}»"))
}

fn percent_decoded(reference: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(reference.len());
    let mut rest = reference.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = behind;
    }
    String::from_utf8(bytes).ok().filter(|path| !path.contains('\0'))
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be read: {error}", path.display())
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
