//! What goes through the pipes of a compiling child, each message with its length in front.
//!
//! | direction | bytes |
//! |---|---|
//! | child, once | hash of its engine's settings, 32 |
//! | server | length, u64 little-endian; the component |
//! | child | 0 for code, 1 for a refusal; length, u64 little-endian; serialized code, or words |

use std::io::{self, Read, Write};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Most bytes of a component, or of its code.
const MESSAGE_BYTES_MAX: u64 = 1 << 30;
const CODE: u8 = 0;
const REFUSED: u8 = 1;

/// What a child answers.
pub(super) enum Answer {
    /// Serialized code.
    Code(Vec<u8>),
    /// The compiler's words.
    Refused(String),
}

/// Sends a component.
pub(super) async fn send_request(
    to: &mut (impl AsyncWrite + Unpin),
    wasm: &[u8],
) -> io::Result<()> {
    to.write_u64_le(wasm.len() as u64).await?;
    to.write_all(wasm).await?;
    to.flush().await
}

/// Waits for the answer.
pub(super) async fn receive_answer(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Answer> {
    let kind = from.read_u8().await?;
    let length = from.read_u64_le().await?;
    let mut bytes = Vec::new();
    // What a broken child claims is not allocated before it has come.
    from.take(length.min(MESSAGE_BYTES_MAX)).read_to_end(&mut bytes).await?;
    match kind {
        CODE if bytes.len() as u64 == length => Ok(Answer::Code(bytes)),
        REFUSED => Ok(Answer::Refused(String::from_utf8_lossy(&bytes).into_owned())),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The next component; `None` when there is none anymore.
pub(super) fn receive_request(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 8];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u64::from_le_bytes(length);
    if length > MESSAGE_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut wasm = Vec::new();
    from.take(length).read_to_end(&mut wasm)?;
    Ok((wasm.len() as u64 == length).then_some(wasm))
}

/// Answers a component.
pub(super) fn send_answer(to: &mut impl Write, answer: &Answer) -> io::Result<()> {
    let (kind, bytes) = match answer {
        Answer::Code(code) => (CODE, &code[..]),
        Answer::Refused(message) => (REFUSED, message.as_bytes()),
    };
    to.write_all(&[kind])?;
    to.write_all(&(bytes.len() as u64).to_le_bytes())?;
    to.write_all(bytes)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_arrive_whole_or_not_at_all() {
        let mut sent = Vec::new();
        send_request(&mut sent, b"component").await.unwrap();
        assert_eq!(receive_request(&mut &sent[..]).unwrap().unwrap(), b"component");
        for cut in 0..sent.len() {
            assert!(matches!(receive_request(&mut &sent[..cut]), Ok(None)), "{cut}");
        }
        let claimed = [0xff; 8];
        assert!(receive_request(&mut &claimed[..]).is_err());
    }

    #[tokio::test]
    async fn a_child_that_claims_too_much_or_ends_early_gave_no_answer() {
        let mut sent = Vec::new();
        send_answer(&mut sent, &Answer::Code(b"code".to_vec())).unwrap();
        let answer = receive_answer(&mut &sent[..]).await.unwrap();
        assert!(matches!(answer, Answer::Code(code) if code == b"code"));
        for cut in 0..sent.len() {
            assert!(receive_answer(&mut &sent[..cut]).await.is_err(), "{cut}");
        }
        sent[1..9].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(receive_answer(&mut &sent[..]).await.is_err());
        sent[0] = 7;
        assert!(receive_answer(&mut &sent[..]).await.is_err());
    }
}
