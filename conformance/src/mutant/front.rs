//! A proxy before a gateway's port for clients that makes names of headers lower-case, as no gateway may: what HTTP/2
//! forbids must be refused, and is not to be mended.
//!
//! All else passes byte by byte, so that windows and frames stay between client and gateway.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::wire::{END_HEADERS, FrameReader, PREFACE, frame, kind};

/// Flags of HEADERS that put something before the block: PADDED and PRIORITY.
const BEFORE_THE_BLOCK: u8 = 0x28;

/// One connection, to its end.
pub(super) async fn connection(client: TcpStream, gateway: TcpStream) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_gateway, mut to_gateway) = gateway.into_split();
    let there = async {
        let mut preface = [0; PREFACE.len()];
        from_client.read_exact(&mut preface).await?;
        to_gateway.write_all(&preface).await?;
        let mut frames = FrameReader::new(from_client);
        while let Some(next) = frames.next().await {
            let mut payload = next.payload.to_vec();
            let whole = next.flags & (END_HEADERS | BEFORE_THE_BLOCK) == END_HEADERS;
            if next.kind == kind::HEADERS && whole {
                lower(&mut payload);
            }
            let mut bytes = Vec::with_capacity(payload.len() + 9);
            frame(&mut bytes, next.kind, next.flags, next.stream, &payload);
            to_gateway.write_all(&bytes).await?;
        }
        to_gateway.shutdown().await
    };
    let back = async {
        tokio::io::copy(&mut from_gateway, &mut to_client).await?;
        to_client.shutdown().await
    };
    // A socket that fails ends both ways; one that ends leaves the other way.
    tokio::try_join!(there, back)?;
    Ok(())
}

/// Makes the names in a header block lower-case, where they stand there in clear. None where the block is no HPACK.
fn lower(block: &mut [u8]) -> Option<()> {
    let mut at = 0;
    while let Some(&first) = block.get(at) {
        let (bits, literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let name = number(block, &mut at, bits)?;
        if literal && name == 0 {
            let clear = block.get(at)? & 0x80 == 0;
            let length = number(block, &mut at, 7)?;
            let name = block.get_mut(at..at.checked_add(length)?)?;
            if clear {
                name.make_ascii_lowercase();
            }
            at += length;
        }
        if literal {
            let length = number(block, &mut at, 7)?;
            at = at.checked_add(length)?;
        }
    }
    Some(())
}

/// HPACK's number: what fits a prefix of so many bits, or more bytes of seven bits each.
fn number(block: &[u8], at: &mut usize, bits: u32) -> Option<usize> {
    let most = (1 << bits) - 1;
    let mut number = usize::from(*block.get(*at)?) & most;
    *at += 1;
    if number < most {
        return Some(number);
    }
    for shift in (0..28).step_by(7) {
        let byte = *block.get(*at)?;
        *at += 1;
        number += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::wire::header_block;

    #[test]
    fn names_in_clear_become_lower_case_and_values_do_not() {
        let long = "V".repeat(300);
        let names = |name: &str| {
            [("a", "B"), (name, &long), ("c", "D")].map(|(n, v)| (n.to_owned(), v.to_owned()))
        };
        // An indexed field, and a change of the table's size.
        let mut block = vec![0x82, 0x3f, 0xe1, 0x1f];
        let mut due = block.clone();
        block.extend(header_block(names("Upper-Case")));
        due.extend(header_block(names("upper-case")));
        assert_eq!(lower(&mut block), Some(()));
        assert_eq!(block, due);
        assert_eq!(lower(&mut [0x10, 9, b'A']), None);
    }
}
