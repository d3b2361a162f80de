//! Deliberate faults, for the simulation's own test: each must be caught by the rule that names it.
//!
//! They can be chosen only where `--cfg grpcrouter_sabotage` is given to the compiler, which no feature does.
//! Without it [`is`] is a constant, no code takes account of them, and what is left is this list. Those of the
//! shell are listed here too, so that one choice is of all of them.

/// The faults, each with what it does. In one list, so that none can be left out of `ALL`.
macro_rules! sabotages {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A way in which the tunnel, or what stands around it, could be wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Sabotage {
            $($(#[$doc])* $name,)*
        }

        impl Sabotage {
            /// All of them: first those of the core, then those of the shell.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

sabotages! {
    /// A sender spends what it was not granted, and its peer does not mind.
    CreditIgnored,
    /// Credit is granted for what came, not for what was taken.
    CreditOnReceipt,
    /// Of what was taken, half is never granted again.
    CreditLeaked,
    /// Small data overtakes what waits of the same call.
    LanesReordered,
    /// An end is sent before the data that it ends.
    EndBeforeData,
    /// An end of a request that comes alone is not sent.
    HalfCloseLost,
    /// A chunk is dropped, and nothing counts it.
    ChunkDropped,
    /// A chunk is sent twice, with two numbers.
    ChunkTwice,
    /// A chunk's first byte is another one.
    ByteFlipped,
    /// Of a response that fails, what waits to be taken is thrown away.
    FailureTruncated,
    /// The end of a response is not told.
    EndUntold,
    /// A reset is not sent.
    ResetLost,
    /// A reset that comes to an instance changes nothing.
    KeptAfterReset,
    /// The number of a slot's tenant is not compared.
    GenerationUnchecked,
    /// An earlier registration takes the place of a later one.
    EpochUnchecked,
    /// Silence ends nothing.
    HeartbeatIgnored,
    /// Deadlines pass.
    DeadlineIgnored,
    /// What was sent and lost is taken for never dispatched.
    RetriedWhenSent,
    /// What was queued when a tunnel ended is sent still.
    SentAfterClose,
    /// A call's key that was given back stays taken.
    SlotLeaked,
    /// A call's end is not counted.
    LoadLeaked,
    /// A draining instance is given calls, after the answer to its drain too.
    OpenAfterDrain,
    /// Whom a call names is not looked at.
    PinIgnored,

    /// A gateway gives a client window for what came, not for what moved on.
    WindowOnReceipt,
    /// A gateway gives a client half of the window for what moved on.
    WindowKept,
    /// More is taken off a call than HTTP/2 has room for.
    OutflowUnbounded,
    /// A gateway that sends a response does not look whether its client has reset it.
    ResetUnheard,
    /// A gateway drops a call's handle, and the instance is not told.
    CallNotReleased,
    /// What waits on a call is not woken when its tunnel is lost.
    LostUntold,
    /// A tunnel's timer is not moved forward.
    TimerNotMoved,
    /// A tunnel that has ended stays in the directory.
    DeadTunnelKept,
    /// A gateway pings no client.
    KeepaliveNever,
    /// A draining gateway waits for its calls for ever.
    DrainUnlimited,
    /// A call whose instance was lost ends as if that had broken the protocol.
    LossMisnamed,
    /// A gateway that drains gives its calls no time.
    GatewayDrainCuts,
    /// An instance that drains gives its calls no time.
    InstanceDrainCuts,
    /// A tunnel's task stays when the tunnel is gone.
    TunnelTaskLeaked,
    /// A gateway ends a response without its trailers.
    TrailersDropped,
    /// A call whose instance was lost while it ran is given to another.
    RetriedWhenLost,
    /// Of a request that is sent to another instance, only what came first is sent again.
    ReplayTruncated,
    /// An instance lets a handler go on when its call is over.
    HandlerNotAborted,
    /// A service reads a request that was cut as one that has ended.
    CutIsEnd,
    /// An agent ends a request at its server that was cut.
    UploadCutIsEnd,
    /// An instance gives a call back before its response has left.
    UnflushedDropped,
    /// An instance that lost its gateway does not dial it again.
    NeverDialsAgain,
    /// An agent goes on with connections that have died.
    DeadConnectionKept,
}

#[cfg(grpcrouter_sabotage)]
thread_local! {
    static CHOSEN: std::cell::Cell<Option<Sabotage>> = const { std::cell::Cell::new(None) };
}

/// What is wrong from now on, on this thread.
#[cfg(grpcrouter_sabotage)]
pub fn choose(sabotage: Option<Sabotage>) {
    CHOSEN.with(|chosen| chosen.set(sabotage));
}

/// Whether this is wrong now.
#[cfg(grpcrouter_sabotage)]
pub fn is(sabotage: Sabotage) -> bool {
    CHOSEN.with(|chosen| chosen.get() == Some(sabotage))
}

/// Whether this is wrong now: never.
#[cfg(not(grpcrouter_sabotage))]
#[inline(always)]
pub const fn is(_: Sabotage) -> bool {
    false
}

/// Bytes of which the first is another one.
pub fn flipped(data: &bytes::Bytes) -> bytes::Bytes {
    let mut flipped = data.to_vec();
    if let Some(first) = flipped.first_mut() {
        *first ^= 0xff;
    }
    flipped.into()
}
