//! What an instance says of its set before it is asked for it.

use std::fmt;

use grpcrouter_proto::v1::DescriptorSetInfo;
use sha2::{Digest, Sha256};

/// The SHA-256 of an encoded `FileDescriptorSet`: the name under which a set is held once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash([u8; 32]);

impl Hash {
    /// The hash of these bytes.
    #[must_use]
    pub fn of(set: &[u8]) -> Self {
        Self(Sha256::digest(set).into())
    }
}

/// The first bytes in hexadecimal, which is enough for people.
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A set that an instance can hand over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// Its name.
    pub hash: Hash,
    /// Its length in bytes; never 0.
    pub size: u32,
}

impl Announced {
    /// The announcement of a set; none for an empty one, or one of 4 GiB.
    #[must_use]
    pub fn of(set: &[u8]) -> Option<Self> {
        let size = u32::try_from(set.len()).ok().filter(|size| *size > 0)?;
        let hash = Hash::of(set);
        Some(Self { hash, size })
    }

    /// Parses what an instance sent. Fails with what is out of range.
    pub(crate) fn parse(info: &DescriptorSetInfo) -> Result<Self, String> {
        let hash = <[u8; 32]>::try_from(info.sha256.as_ref()).map_err(|_| {
            let got = info.sha256.len();
            format!("descriptors.sha256: expected 32 bytes, got {got}")
        })?;
        if info.size == 0 {
            return Err("descriptors.size: expected at least 1 byte, got 0".to_owned());
        }
        Ok(Self {
            hash: Hash(hash),
            size: info.size,
        })
    }
}

impl From<Announced> for DescriptorSetInfo {
    fn from(announced: Announced) -> Self {
        Self {
            sha256: announced.hash.0.to_vec().into(),
            size: announced.size,
        }
    }
}
