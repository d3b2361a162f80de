//! A hop before a gateway's client port that keeps whatever its clients do not read.

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes that are taken off a socket at a time.
const PIECE: usize = 64 * 1024;

/// One connection, until either end of it is gone.
pub(super) async fn connection(mut near: TcpStream, mut far: TcpStream) -> std::io::Result<()> {
    let (mut near_read, mut near_write) = near.split();
    let (mut far_read, mut far_write) = far.split();
    let there = async {
        tokio::io::copy(&mut near_read, &mut far_write).await?;
        far_write.shutdown().await
    };
    let back = async {
        let mut kept = BytesMut::new();
        let mut piece = vec![0; PIECE];
        let mut open = true;
        while open || !kept.is_empty() {
            tokio::select! {
                biased;
                read = far_read.read(&mut piece), if open => match read? {
                    0 => open = false,
                    n => kept.extend_from_slice(&piece[..n]),
                },
                written = near_write.write(&kept), if !kept.is_empty() => kept.advance(written?),
            }
        }
        near_write.shutdown().await
    };
    tokio::try_join!(there, back).map(drop)
}
