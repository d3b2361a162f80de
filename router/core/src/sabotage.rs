//! Deliberate faults, for the simulation's own test: each must be caught by the rule that names it.
//!
//! They exist only where `--cfg grpcrouter_sabotage` is given to the compiler, which no feature does; without
//! it [`is`] is a constant, and nothing of them is left.

/// A way in which the tunnel could be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sabotage {
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
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::CreditIgnored,
        Self::CreditOnReceipt,
        Self::CreditLeaked,
        Self::LanesReordered,
        Self::EndBeforeData,
        Self::HalfCloseLost,
        Self::ChunkDropped,
        Self::ChunkTwice,
        Self::ResetLost,
        Self::KeptAfterReset,
        Self::GenerationUnchecked,
        Self::EpochUnchecked,
        Self::HeartbeatIgnored,
        Self::DeadlineIgnored,
        Self::RetriedWhenSent,
        Self::SentAfterClose,
        Self::SlotLeaked,
        Self::LoadLeaked,
        Self::OpenAfterDrain,
        Self::PinIgnored,
    ];
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
