//! `aimass trust`: looking at signatures and at what this host trusts.

use anyhow::bail;
use clap::{Args, Subcommand};

/// Check what this host would believe.
#[derive(Subcommand)]
pub(crate) enum Trust {
    /// Check one Ed25519 signature by the strict rule; exit code 0 only if it is accepted
    CheckSignature(CheckSignature),
}

/// The parts of a signature, each in lower-case hexadecimal.
#[derive(Args)]
pub(crate) struct CheckSignature {
    /// Public key, 32 bytes
    #[arg(long, value_name = "HEX", allow_hyphen_values = true)]
    public_key: String,
    /// Message, any number of bytes; empty for the empty message
    #[arg(long, value_name = "HEX", allow_hyphen_values = true)]
    message: String,
    /// Signature, 64 bytes
    #[arg(long, value_name = "HEX", allow_hyphen_values = true)]
    signature: String,
}

impl Trust {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Trust::CheckSignature(check) => check.run(),
        }
    }
}

impl CheckSignature {
    fn run(&self) -> anyhow::Result<()> {
        if !aimass_trust::check_signature(&self.public_key, &self.message, &self.signature) {
            bail!(
                "refused: expected the signature of this message by a canonical key of prime order, \
                 all in lower-case hexadecimal, got another"
            );
        }
        println!("accepted");
        Ok(())
    }
}
