//! The queues of a tunnel: nothing until they are used, and then many places at once.

use std::collections::VecDeque;

/// Places that a queue, or the memory of calls that ended, is given when it first needs them: so many that they are a
/// large piece of memory, which an allocator keeps apart. Small pieces that grew with a burst of calls would stand
/// among what the calls had, and keep the allocator from giving that back. And not from the beginning: thousands of
/// tunnels are idle, and where the system gives memory in huge pages, places that nobody uses cost as much as others.
pub(super) const PLACES: usize = 1_024;

/// Puts a value at the end of a queue.
pub(super) fn push<T>(queue: &mut VecDeque<T>, value: T) {
    if queue.len() == queue.capacity() {
        queue.reserve(PLACES);
    }
    queue.push_back(value);
}
