//! The manifest as the compiler sees it, and its rendering to JSON.

use super::check::is_json;
use super::text::Text;
use crate::abi::v1;
use crate::sdk::{Module, ModuleOptions};

/// The compiler that builds the module: the SDK is always built by the same one.
pub const RUSTC: &str = env!("MOULT_RUSTC");

/// What `export_module!` collects. [`crate::manifest::Manifest`] says what each field means.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// Module id.
    pub id: &'static str,
    /// Version of the module.
    pub version: &'static str,
    /// What tells two builds apart.
    pub build: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// API minor that the module says it was built with: this one's. Only fixtures that stand for older builds set it.
    #[doc(hidden)]
    pub api_minor: u16,
    /// Smallest API minor.
    pub needs_minor: u16,
    /// Other modules.
    pub depends: &'static [Depend],
    /// Rights asked for.
    pub capabilities: &'static [&'static str],
    /// Options.
    pub options: &'static [OptionSpec],
    /// State handed over.
    pub state: Option<StateSpec>,
    /// Schema of the stores.
    pub store: Option<StoreSpec>,
    /// Extensions: number, version, and how much of it: see [`crate::manifest::Xep`].
    pub xeps: &'static [(&'static str, &'static str, &'static str)],
    /// One instance per vhost, or one in all.
    pub scope: Scope,
    /// Supervision.
    pub policy: PolicySpec,
    /// Whether changed options are taken while it runs.
    pub reloads: bool,
}

/// Another module.
#[derive(Debug, Clone, Copy)]
pub struct Depend {
    /// Its id.
    pub id: &'static str,
    /// Whether one can do without.
    pub soft: bool,
}

/// An option: see [`crate::module_options!`].
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// Key.
    pub name: &'static str,
    /// Kind as JSON, without `values`.
    pub kind: &'static str,
    /// Default as JSON.
    pub default: &'static str,
    /// Doc comment.
    pub doc: &'static str,
    /// Smallest value.
    pub min: Option<i64>,
    /// Largest value.
    pub max: Option<i64>,
    /// Allowed texts; empty means any.
    pub values: &'static [&'static str],
    /// Whether a change needs a restart of the module.
    pub boot_only: bool,
}

/// Numbers of the state's shape.
#[derive(Debug, Clone, Copy)]
pub struct StateSpec {
    /// Schema written.
    pub writes: u32,
    /// Oldest schema read.
    pub reads_from: u32,
    /// Newest schema read.
    pub reads_to: u32,
}

/// Numbers of the stores' shape.
#[derive(Debug, Clone, Copy)]
pub struct StoreSpec {
    /// Schema read and written.
    pub schema: u32,
    /// Oldest schema brought forward.
    pub from: u32,
}

/// Where instances are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One per vhost.
    Vhost,
    /// One for the whole server.
    Global,
}

/// Supervision: see [`crate::manifest::Policy`].
#[derive(Debug, Clone, Copy)]
pub struct PolicySpec {
    /// `temporary`, `transient` or `permanent`.
    pub restart: &'static str,
    /// Restarts within a minute.
    pub max_restarts: u32,
    /// Time for `stop`.
    pub shutdown_ms: u64,
}

impl PolicySpec {
    /// Never restarted, one second to stop.
    pub const DEFAULT: Self = Self { restart: "temporary", max_restarts: 3, shutdown_ms: 1000 };
}

impl Source {
    /// What holds where the macro is silent.
    pub const fn of<M: Module>(id: &'static str, version: &'static str, description: &'static str) -> Self {
        Self {
            id,
            version,
            build: "",
            description,
            api_minor: v1::API_MINOR,
            needs_minor: 0,
            depends: &[],
            capabilities: &[],
            options: <M::Options as ModuleOptions>::SCHEMA,
            state: None,
            store: None,
            xeps: &[],
            scope: Scope::Vhost,
            policy: PolicySpec::DEFAULT,
            reloads: M::RELOADS,
        }
    }

    /// The manifest's JSON.
    pub const fn render<const N: usize>(&self) -> Text<N> {
        let mut t = Text::new();
        t.raw("{\"id\":");
        t.string(self.id);
        t.raw(",\"version\":");
        t.string(self.version);
        t.raw(",\"build\":");
        t.string(self.build);
        t.raw(",\"description\":");
        t.doc(self.description);
        t.raw(",\"api\":\"");
        t.number(v1::API_MAJOR as i64);
        t.raw(".");
        t.number(self.api_minor as i64);
        t.raw("\",\"rustc\":");
        t.string(RUSTC);
        t.raw(",\"needs_minor\":");
        t.number(self.least_minor() as i64);
        self.render_lists(&mut t);
        self.render_options(&mut t);
        self.render_state(&mut t);
        self.render_store(&mut t);
        t.raw(",\"global\":");
        t.boolean(matches!(self.scope, Scope::Global));
        self.render_policy(&mut t);
        // Before API 1.2 nobody said it, and nor does a fixture that stands for such a build.
        if self.api_minor >= 2 {
            t.raw(",\"reloads\":");
            t.boolean(self.reloads);
        }
        t.raw("}");
        t
    }

    const fn render_lists<const N: usize>(&self, t: &mut Text<N>) {
        t.raw(",\"depends\":[");
        let mut i = 0;
        while i < self.depends.len() {
            t.raw(if i == 0 { "{\"id\":" } else { ",{\"id\":" });
            t.string(self.depends[i].id);
            t.raw(",\"soft\":");
            t.boolean(self.depends[i].soft);
            t.raw("}");
            i += 1;
        }
        t.raw("],\"capabilities\":");
        strings(t, self.capabilities);
        t.raw(",\"xeps\":[");
        i = 0;
        while i < self.xeps.len() {
            t.raw(if i == 0 { "{\"number\":" } else { ",{\"number\":" });
            t.string(self.xeps[i].0);
            t.raw(",\"version\":");
            t.string(self.xeps[i].1);
            t.raw(",\"status\":");
            t.string(self.xeps[i].2);
            t.raw("}");
            i += 1;
        }
        t.raw("]");
    }

    const fn render_options<const N: usize>(&self, t: &mut Text<N>) {
        t.raw(",\"options\":[");
        let mut i = 0;
        while i < self.options.len() {
            if i > 0 {
                t.raw(",");
            }
            self.options[i].render(t);
            i += 1;
        }
        t.raw("]");
    }

    const fn render_state<const N: usize>(&self, t: &mut Text<N>) {
        t.raw(",\"state\":");
        let Some(state) = self.state else {
            t.raw("null");
            return;
        };
        assert!(state.reads_from <= state.reads_to, "state: `reads` is an empty range");
        t.raw("{\"writes\":");
        t.number(state.writes as i64);
        t.raw(",\"reads_from\":");
        t.number(state.reads_from as i64);
        t.raw(",\"reads_to\":");
        t.number(state.reads_to as i64);
        t.raw("}");
    }

    /// A server before 1.2 would let a module loose on stores that it has not brought forward.
    const fn least_minor(&self) -> u16 {
        match self.store {
            Some(_) if self.needs_minor < 2 => 2,
            _ => self.needs_minor,
        }
    }

    const fn render_store<const N: usize>(&self, t: &mut Text<N>) {
        let Some(store) = self.store else { return };
        assert!(
            store.from >= 1 && store.from <= store.schema,
            "store: schemas are numbered from 1, and stores are brought forward, not back"
        );
        t.raw(",\"store\":{\"schema\":");
        t.number(store.schema as i64);
        t.raw(",\"from\":");
        t.number(store.from as i64);
        t.raw("}");
    }

    const fn render_policy<const N: usize>(&self, t: &mut Text<N>) {
        t.raw(",\"policy\":{\"restart\":");
        t.string(self.policy.restart);
        t.raw(",\"max_restarts\":");
        t.number(self.policy.max_restarts as i64);
        t.raw(",\"shutdown_ms\":");
        t.number(self.policy.shutdown_ms as i64);
        t.raw("}");
    }
}

impl OptionSpec {
    const fn render<const N: usize>(&self, t: &mut Text<N>) {
        assert!(
            is_json(self.default),
            "an option's default must be a JSON value: 1, true, null, \"text\", [\"a\"]"
        );
        t.raw("{\"name\":");
        t.string(self.name);
        t.raw(",\"kind\":");
        if self.values.is_empty() {
            t.raw(self.kind);
        } else {
            t.raw("{\"enum\":");
            strings(t, self.values);
            t.raw("}");
        }
        t.raw(",\"default\":");
        t.raw(self.default);
        t.raw(",\"doc\":");
        t.doc(self.doc);
        if let Some(min) = self.min {
            t.raw(",\"min\":");
            t.number(min);
        }
        if let Some(max) = self.max {
            t.raw(",\"max\":");
            t.number(max);
        }
        t.raw(",\"boot_only\":");
        t.boolean(self.boot_only);
        t.raw("}");
    }
}

const fn strings<const N: usize>(t: &mut Text<N>, list: &[&str]) {
    t.raw("[");
    let mut i = 0;
    while i < list.len() {
        if i > 0 {
            t.raw(",");
        }
        t.string(list[i]);
        i += 1;
    }
    t.raw("]");
}
