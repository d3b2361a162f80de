//! The messages between the suite and a subject: each after its length, in four bytes, big-endian.

use std::io;

use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest message, in bytes.
pub const MAX: usize = 1 << 20;

/// Reads a message.
///
/// # Errors
/// Where the stream ends first, or holds no such message.
pub async fn read<M: Message + Default>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<M> {
    let length = from.read_u32().await? as usize;
    if length > MAX {
        let say = format!("a message of {length} bytes, where {MAX} is the most");
        return Err(io::Error::new(io::ErrorKind::InvalidData, say));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await?;
    M::decode(&bytes[..]).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes a message.
///
/// # Errors
/// Where nobody reads it, or it is too long.
pub async fn write(to: &mut (impl AsyncWrite + Unpin), message: &impl Message) -> io::Result<()> {
    let length = message.encoded_len();
    if length > MAX {
        let say = format!("a message of {length} bytes, where {MAX} is the most");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, say));
    }
    let mut bytes = (length as u32).to_be_bytes().to_vec();
    bytes.extend(message.encode_to_vec());
    to.write_all(&bytes).await?;
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::SubjectReply;

    #[tokio::test]
    async fn a_message_comes_after_its_length() {
        let reply = SubjectReply {
            error: "no".to_owned(),
            ..SubjectReply::default()
        };
        let mut bytes = Vec::new();
        write(&mut bytes, &reply).await.unwrap();
        assert_eq!(bytes, b"\0\0\0\x04\x0a\x02no");
        assert_eq!(read::<SubjectReply>(&mut &bytes[..]).await.unwrap(), reply);
        let huge = read::<SubjectReply>(&mut &b"HTTP/1.1 200 OK"[..]).await;
        assert!(huge.unwrap_err().to_string().contains("1213486160 bytes"));
    }
}
