//! [`export_module!`](crate::export_module).

/// Exports a module from its library: the declaration, the manifest as an ELF note, the root header for the probe, and
/// what makes the library unloadable. Once per crate.
///
/// Only `module` must be given. The id is the package's name unless `id` says otherwise (lower-case letters, digits and
/// underscores; `mod_` in front is customary), version and description are the package's. The rest in any order:
///
/// ```no_run,standalone_crate
/// # use moult_plugin_api::prelude::*;
/// # struct Hello;
/// # impl Module for Hello {
/// #     type Options = ();
/// #     fn start(_: &Host, (): ()) -> Result<Started<Self>, Stop> { Started::running(Hello) }
/// # }
/// export_module! {
///     module: Hello,
///     id: "mod_hello",
///     description: "Says hello",
///     depends: [hard "mod_disco", soft "mod_ping"],
///     capabilities: ["commands"],
///     state: { writes: 2, reads: 1..=2 },
///     store: { schema: 3, from: 1 },                  // brought forward by Module::migrate
///     xeps: ["0199", "0030" "2.5", "0133" "1.3.1" "partial"],
///     scope: vhost,                                   // or global
///     policy: { restart: transient, max_restarts: 3, shutdown_ms: 1000 },
///     needs_minor: 0,
///     build: "nightly",
/// }
/// ```
///
/// Options are declared by the module's `Options` type, see [`module_options!`](crate::module_options). In unit tests of
/// the crate nothing is exported.
#[macro_export]
macro_rules! export_module {
    (module: $module:ty $(, $key:ident : $value:tt)* $(,)?) => {
        #[doc(hidden)]
        #[allow(unused)]
        type __MoultModule = $module;

        #[cfg(all(panic = "abort", not(test)))]
        compile_error!("a module must be built with panic = \"unwind\": with abort, one panic would end the whole server");

        #[cfg(not(test))]
        #[allow(unsafe_code, missing_docs, non_upper_case_globals, unused, reason = "generated")]
        const _: () = {
            use $crate::__private::*;
            type Exported = __MoultModule;

            $crate::__manifest!(Exported $(, $key: $value)*);

            #[used]
            #[cfg_attr(target_os = "linux", unsafe(link_section = ".note.moult"))]
            static NOTE: Note<{ padded(LEN) }> = Note::manifest(MANIFEST_TEXT.as_bytes());

            static VT: v1::ModuleVt = table::<Exported>(create);

            unsafe extern "C" fn create(
                info: &v1::InstanceInfo<'_>,
                host: v1::HostRef,
                reply: v1::ReplyRef<'_>,
                out: &mut v1::InstancePtr,
            ) -> i32 {
                prepare_library();
                // SAFETY: the arguments are passed on as the host gave them.
                unsafe { create_instance::<Exported>(info, host, reply, out) }
            }

            #[unsafe(no_mangle)]
            pub static MOULT_MODULE_V1: v1::ModuleDecl = v1::ModuleDecl {
                magic: v1::MAGIC,
                size: core::mem::size_of::<v1::ModuleDecl>() as u32,
                api_major: v1::API_MAJOR,
                api_minor: SOURCE.api_minor,
                fingerprint: FINGERPRINT,
                flags: FLAGS | if cfg!(debug_assertions) { v1::flags::DEBUG } else { 0 },
                rustc: RStr::from_str(RUSTC),
                manifest: RStr::from_str(MANIFEST_TEXT),
                vt: &VT,
                thread_detach,
                final_report,
            };

            extern "C" fn declaration() -> &'static v1::ModuleDecl {
                &MOULT_MODULE_V1
            }

            fn root() -> v1::ModuleRoot_Ref {
                const ROOT: &WithMetadata<v1::ModuleRoot> = &WithMetadata::new(v1::ModuleRoot { declaration });
                v1::ModuleRoot_Ref(ROOT.static_as_prefix())
            }

            extern "C" fn erased_root() -> RootModuleResult {
                __call_root_module_loader(root)
            }

            // What abi_stable's own attribute would write; that one needs abi_stable as a dependency of the module.
            #[unsafe(no_mangle)]
            pub static _1as_0lib_1header_0root_bmodule_bloader: LibHeader =
                // SAFETY: `erased_root` gives a `ModuleRoot_Ref`.
                unsafe { LibHeader::from_constructor::<v1::ModuleRoot_Ref>(erased_root, CheckTypeLayout::Yes) };

            $crate::__interpose!();
        };
    };
}

/// The manifest: `LEN` and `MANIFEST_TEXT`.
#[doc(hidden)]
#[macro_export]
macro_rules! __manifest {
    ($module:ty $(, $key:ident : $value:tt)*) => {
        const SOURCE: Source = Source {
            $($key: $crate::__module_field!($key $value),)*
            ..Source::of::<$module>(
                env!("CARGO_PKG_NAME"),
                env!("CARGO_PKG_VERSION"),
                env!("CARGO_PKG_DESCRIPTION"),
            )
        };
        const _: () = assert!(
            is_module_id(SOURCE.id),
            "a module's id is a lower-case letter, then lower-case letters, digits and underscores: set `id`"
        );

        const LEN: usize = SOURCE.render::<0>().len;
        const MANIFEST_TEXT: &str = match core::str::from_utf8(&SOURCE.render::<LEN>().bytes) {
            Ok(text) => text,
            Err(_) => panic!("the manifest is UTF-8"),
        };
    };
}

/// The stand-ins for functions of the C library, hidden from everybody but this library.
#[doc(hidden)]
#[macro_export]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
macro_rules! __interpose {
    () => {
        mod hidden {
            core::arch::global_asm!(
                ".hidden __cxa_thread_atexit_impl",
                ".hidden pthread_key_create",
                ".hidden pthread_key_delete",
                ".hidden pthread_create",
            );
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn __cxa_thread_atexit_impl(
            destructor: interpose::Destructor,
            object: *mut c_void,
            library: *mut c_void,
        ) -> c_int {
            // SAFETY: the arguments are passed on.
            unsafe { interpose::thread_atexit(destructor, object, library) }
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn pthread_key_create(
            key: *mut pthread_key_t,
            destructor: Option<interpose::Destructor>,
        ) -> c_int {
            // SAFETY: the arguments are passed on.
            unsafe { interpose::key_create(key, destructor) }
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn pthread_key_delete(key: pthread_key_t) -> c_int {
            // SAFETY: the argument is passed on.
            unsafe { interpose::key_delete(key) }
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn pthread_create(
            thread: *mut pthread_t,
            attributes: *const pthread_attr_t,
            routine: interpose::StartRoutine,
            argument: *mut c_void,
        ) -> c_int {
            // SAFETY: the arguments are passed on.
            unsafe { interpose::thread_create(thread, attributes, routine, argument) }
        }

        extern "C" fn thread_detach() -> u32 {
            interpose::thread_detach()
        }

        extern "C" fn final_report(out: &mut v1::FinalReport) {
            interpose::final_report(out);
        }

        const FLAGS: u64 = v1::flags::UNWIND | v1::flags::INTERPOSED;
    };
}

/// Elsewhere nothing is interposed, and the declaration says so.
#[doc(hidden)]
#[macro_export]
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
macro_rules! __interpose {
    () => {
        extern "C" fn thread_detach() -> u32 {
            0
        }

        extern "C" fn final_report(out: &mut v1::FinalReport) {
            *out = v1::FinalReport::default();
        }

        const FLAGS: u64 = v1::flags::UNWIND;
    };
}

/// One field of the manifest.
#[doc(hidden)]
#[macro_export]
macro_rules! __module_field {
    (id $value:literal) => { $value };
    (version $value:literal) => { $value };
    (build $value:literal) => { $value };
    (description $value:literal) => { $value };
    (needs_minor $value:literal) => { $value };
    (api_minor $value:literal) => { $value };
    (capabilities [$($value:literal),* $(,)?]) => { &[$($value),*] };
    (depends [$($($soft:ident)? $id:literal),* $(,)?]) => {
        &[$(Depend { id: $id, soft: $crate::__is_soft!($($soft)?) }),*]
    };
    (xeps [$($number:literal $($version:literal $($status:literal)?)?),* $(,)?]) => {
        &[$(($number, concat!($($version)?), concat!($($($status)?)?))),*]
    };
    (state { writes: $writes:literal, reads: $from:literal ..= $to:literal $(,)? }) => {
        Some(StateSpec { writes: $writes, reads_from: $from, reads_to: $to })
    };
    (state { writes: $writes:literal, reads: $only:literal $(,)? }) => {
        Some(StateSpec { writes: $writes, reads_from: $only, reads_to: $only })
    };
    (store { schema: $schema:literal, from: $from:literal $(,)? }) => {
        Some(StoreSpec { schema: $schema, from: $from })
    };
    (scope vhost) => { Scope::Vhost };
    (scope global) => { Scope::Global };
    (policy { $($key:ident : $value:tt),* $(,)? }) => {
        PolicySpec { $($key: $crate::__policy_field!($key $value),)* ..PolicySpec::DEFAULT }
    };
    ($key:ident $($value:tt)*) => {
        compile_error!(concat!("export_module!: `", stringify!($key), "` does not take ", stringify!($($value)*)))
    };
}

/// `soft` or `hard`, the latter by default.
#[doc(hidden)]
#[macro_export]
macro_rules! __is_soft {
    () => {
        false
    };
    (hard) => {
        false
    };
    (soft) => {
        true
    };
}

/// One field of the policy.
#[doc(hidden)]
#[macro_export]
macro_rules! __policy_field {
    (restart temporary) => {
        "temporary"
    };
    (restart transient) => {
        "transient"
    };
    (restart permanent) => {
        "permanent"
    };
    (max_restarts $value:literal) => {
        $value
    };
    (shutdown_ms $value:literal) => {
        $value
    };
}

#[cfg(test)]
mod tests {
    use crate::__private::*;
    use crate::manifest::{Manifest, OptionKind, Restart, StoreSchema};
    use crate::prelude::*;

    module_options! {
        #[allow(dead_code, reason = "only its schema is looked at")]
        struct Options {
            /// What it says; "quoted" and
            /// over two lines.
            text: String = "a \"b\" \\", one_of ["a \"b\" \\", "c"];
            count: u8 = 3, min 1, max 9, boot_only true;
        }
    }

    struct Full;

    impl Module for Full {
        type Options = Options;
        fn start(_: &Host, _: Options) -> Result<Started<Self>, Stop> {
            Started::running(Full)
        }
    }

    #[test]
    fn the_header_is_exported_under_the_name_that_abi_stable_looks_for() {
        let name = format!("pub static {}:", abi_stable::library::ROOT_MODULE_LOADER_NAME);
        assert!(include_str!("macros.rs").contains(&name), "{name}");
    }

    #[test]
    fn a_manifest_says_what_the_macro_was_told() {
        __manifest!(
            Full,
            id: "mod_full",
            description: "Everything",
            depends: [hard "mod_a", soft "mod_b", "mod_c"],
            capabilities: ["fatal", "commands"],
            state: { writes: 2, reads: 1..=3 },
            store: { schema: 5, from: 4 },
            xeps: ["0199", "0030" "2.5", "0133" "1.3.1" "partial"],
            scope: global,
            policy: { restart: transient, shutdown_ms: 50 },
            needs_minor: 4,
            build: "b7"
        );
        let manifest = Manifest::parse(MANIFEST_TEXT.as_bytes()).unwrap();
        assert_eq!(
            (manifest.id.as_str(), manifest.build.as_str(), manifest.needs_minor),
            ("mod_full", "b7", 4)
        );
        assert_eq!(manifest.depends.iter().map(|d| d.soft).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(manifest.capabilities, ["fatal", "commands"]);
        let state = manifest.state.unwrap();
        assert_eq!((state.writes, state.reads_from, state.reads_to), (2, 1, 3));
        assert_eq!(manifest.store, Some(StoreSchema { schema: 5, from: 4 }));
        assert_eq!((manifest.xeps[1].number.as_str(), manifest.xeps[1].version.as_str()), ("0030", "2.5"));
        assert_eq!((manifest.xeps[1].is_complete(), manifest.xeps[2].is_complete()), (true, false));
        assert!(
            manifest.global
                && manifest.rustc.starts_with("rustc ")
                && manifest.api == format!("1.{}", v1::API_MINOR)
        );
        let policy = (manifest.policy.restart, manifest.policy.max_restarts, manifest.policy.shutdown_ms);
        assert_eq!(policy, (Restart::Transient, 3, 50));
        let [text, count] = manifest.options.as_slice() else { panic!("two options") };
        assert_eq!(text.doc, "What it says; \"quoted\" and over two lines.");
        assert_eq!(text.kind, OptionKind::Enum(vec!["a \"b\" \\".into(), "c".into()]));
        assert_eq!(text.default, "a \"b\" \\");
        assert_eq!((count.min, count.max, count.boot_only), (Some(1), Some(9), true));
    }

    #[test]
    fn a_module_with_a_store_schema_needs_a_server_that_brings_it_forward() {
        __manifest!(Full, id: "m", store: { schema: 2, from: 1 }, needs_minor: 0);
        assert_eq!(Manifest::parse(MANIFEST_TEXT.as_bytes()).unwrap().needs_minor, 2);
    }

    #[test]
    fn a_silent_macro_takes_everything_from_the_package() {
        __manifest!(Full, id: "m");
        let manifest = Manifest::parse(MANIFEST_TEXT.as_bytes()).unwrap();
        assert_eq!(manifest.version, env!("CARGO_PKG_VERSION"));
        assert_eq!(manifest.description, env!("CARGO_PKG_DESCRIPTION"));
        assert!(!manifest.global && manifest.state.is_none());
        assert_eq!(manifest.reloads, Some(Full::RELOADS));
    }

    #[test]
    fn the_note_repeats_the_manifest_in_elfs_form() {
        __manifest!(Full, id: "m");
        let note: Note<{ padded(LEN) }> = Note::manifest(MANIFEST_TEXT.as_bytes());
        assert_eq!(note.header(), (6, u32::try_from(LEN).unwrap(), v1::NOTE_TYPE_MANIFEST));
        assert_eq!(size_of_val(&note) % 4, 0);
        assert_eq!(note.description(), MANIFEST_TEXT.as_bytes());
    }
}
