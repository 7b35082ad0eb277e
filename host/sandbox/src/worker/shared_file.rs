//! Shared memory between host and worker: anonymous files that the host makes, sizes and seals.
//!
//! The host never maps a file that a worker can write. It copies the bytes of a message out of it, once,
//! into memory of its own, and checks the copy: whatever the worker changes afterwards, or at the same time,
//! cannot be seen. Both sides use `pread` and `pwrite`, which no change of the file can turn into a fault.

use super::wire::Writer;
use aimass_tensor::{Buffer, BufferMut};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::{Errno, pread, pwrite};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// An anonymous file of this size, which nobody can change any more.
///
/// # Errors
/// The operating system's.
pub(crate) fn shared_file(bytes: u64) -> io::Result<OwnedFd> {
    let file = memfd_create("aimass-call", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, bytes)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

/// A message in a file of its own, which nobody can write any more.
///
/// # Errors
/// The operating system's.
pub(crate) fn sealed_message(message: &Writer) -> io::Result<OwnedFd> {
    let file = memfd_create("aimass-load", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, message.len() as u64)?;
    write_message(&file, message)?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    fcntl_add_seals(&file, seals)?;
    Ok(file)
}

/// Writes a message to the start of a file.
///
/// # Errors
/// The operating system's; the file is too small.
pub(crate) fn write_message(file: impl AsFd, message: &Writer) -> io::Result<()> {
    let mut at = 0;
    for mut piece in message.pieces() {
        while !piece.is_empty() {
            match pwrite(&file, piece, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    at += written as u64;
                    piece = &piece[written..];
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Copies so many bytes from the start of a file.
///
/// # Errors
/// The operating system's; the file is shorter.
pub(crate) fn read_message(file: impl AsFd, len: usize) -> io::Result<Buffer> {
    let mut bytes = BufferMut::uninit(len);
    let mut at = 0;
    while at < len {
        match pread(&file, &mut bytes.as_mut_slice()[at..], at as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => at += read,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_copied_does_not_change_with_the_file() {
        let file = shared_file(4096).unwrap();
        let mut message = Writer::default();
        message.raw(b"before");
        write_message(&file, &message).unwrap();
        let copy = read_message(&file, 6).unwrap();
        pwrite(&file, b"after!", 0).unwrap();
        assert_eq!(copy.as_slice(), b"before");
    }

    #[test]
    fn nobody_resizes_a_file_and_nobody_writes_a_sealed_message() {
        let file = shared_file(4096).unwrap();
        assert!(ftruncate(&file, 0).is_err());
        assert!(ftruncate(&file, 1 << 20).is_err());
        assert!(pwrite(&file, b"x", 4096).is_err(), "it does not grow");
        assert!(read_message(&file, 4097).is_err());
        let mut message = Writer::default();
        message.raw(b"code");
        let sealed = sealed_message(&message).unwrap();
        assert!(pwrite(&sealed, b"x", 0).is_err());
        assert_eq!(read_message(&sealed, 4).unwrap().as_slice(), b"code");
    }
}
