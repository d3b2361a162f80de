//! What a registry holds at most.

/// Limits of a [`Registry`](super::Registry) and of one registration. Every one has a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryLimits {
    /// Instances registered at once. Default 100,000: about 100 MB with ten services each.
    pub max_instances: usize,
    /// Services of one instance. Default 1,024.
    pub max_services: usize,
    /// Routing keys of one instance. Default 1,024.
    pub max_keys: usize,
    /// Labels of one instance. Default 64.
    pub max_labels: usize,
    /// Highest weight of an instance. Default 1,000: weights are ratios, and higher ones only make
    /// a cycle longer.
    pub max_weight: u32,
    /// Changes that wait for [`poll_change`](super::Registry::poll_change). Default 4,096. A shell
    /// drains after every mutation, so more than a few waiting means that nobody listens; then the
    /// oldest is dropped.
    pub max_pending_changes: usize,
}

impl Default for RegistryLimits {
    fn default() -> Self {
        Self {
            max_instances: 100_000,
            max_services: 1_024,
            max_keys: 1_024,
            max_labels: 64,
            max_weight: 1_000,
            max_pending_changes: 4_096,
        }
    }
}
