//! The hook points of API version 1: one value each, so that a misspelt hook is a load error and never a silent no-op.

use std::fmt;

macro_rules! hook_points {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// Where modules can hook in. Which arguments a hook gets stands in the SDK's hook list.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum HookPoint {
            $($(#[$doc])* $variant,)+
        }

        impl HookPoint {
            /// All hook points.
            pub const ALL: &'static [HookPoint] = &[$(HookPoint::$variant),+];

            /// The name modules register under.
            pub fn name(self) -> &'static str {
                match self {
                    $(HookPoint::$variant => $name,)+
                }
            }
        }
    };
}

hook_points! {
    /// A stanza from a bound session, before routing. May replace or drop.
    UserSendPacket = "user_send_packet",
    /// A stanza about to enter a session's mailbox. May replace or drop.
    UserReceivePacket = "user_receive_packet",
    /// Every routed stanza of this server. May replace or drop.
    FilterPacket = "filter_packet",
    /// A resource was bound.
    SessionOpened = "session_opened",
    /// A session ended.
    SessionClosed = "session_closed",
    /// A session's broadcast presence changed.
    PresenceChanged = "presence_changed",
    /// A subscription stanza between bare JIDs. `Stop` means handled.
    SubscriptionPacket = "subscription_packet",
    /// A message that no resource took. `Stop` means kept or answered.
    OfflineMessage = "offline_message",
    /// A message or presence to the vhost itself. `Stop` means handled.
    LocalPacket = "local_packet",
    /// Service discovery of an entity: the accumulator is JSON.
    DiscoInfo = "disco_info",
    /// Items of an entity: the accumulator is JSON.
    DiscoItems = "disco_items",
    /// An account was made.
    UserRegistered = "user_registered",
    /// An account was removed.
    UserRemoved = "user_removed",
    /// What is kept of an account is written out: each function is asked by itself.
    ExportUser = "export_user",
    /// An element of an account's data is read in. `Stop` means that it has been taken.
    ImportUser = "import_user",
    /// An authentication ended well or badly.
    C2sAuthResult = "c2s_auth_result",
    /// The contacts of an account: the accumulator is JSON.
    Contacts = "contacts",
    /// The connection of a session is lost and the session waits for its client.
    SessionSuspended = "session_suspended",
    /// Other modules, registrations or options hold from now on.
    ModulesChanged = "modules_changed",
    /// A stanza for a session whose client is inactive. `Stop` says whether it can wait.
    InactivePacket = "inactive_packet",
}

impl HookPoint {
    /// The hook of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|hook| hook.name() == name)
    }
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
