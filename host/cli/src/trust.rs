//! `aimass trust`: whom this host trusts, what it decided, and its rule for signatures.

mod add;
mod audit;
mod policy;
mod show;

use crate::home::Home;
use crate::report::Report;
use anyhow::bail;
use clap::{Args, Subcommand};

/// Say whom this host trusts, and see what it decided.
#[derive(Subcommand)]
pub(crate) enum Trust {
    Add(add::Add),
    Show(show::Show),
    Policy(policy::Policy),
    Audit(audit::AuditLog),
    CheckSignature(CheckSignature),
}

/// Check one Ed25519 signature by the strict rule; exit code 0 only if it is accepted.
///
/// The parts are given in lower-case hexadecimal. Refused are keys and signatures that are not
/// canonical, and keys that are not of prime order.
///
/// Example: `aimass trust check-signature --public-key HEX --message HEX --signature HEX`
///
/// Next: `aimass plugin verify` checks a whole plugin.
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
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Trust {
    /// `home` is opened only by verbs that need it.
    pub(crate) fn run(self, home: impl FnOnce() -> anyhow::Result<Home>) -> anyhow::Result<()> {
        match self {
            Trust::Add(add) => add.run(&home()?),
            Trust::Show(show) => show.run(&home()?),
            Trust::Policy(policy) => policy.run(&home()?),
            Trust::Audit(audit) => audit.run(&home()?),
            Trust::CheckSignature(check) => check.run(),
        }
    }
}

impl CheckSignature {
    fn run(&self) -> anyhow::Result<()> {
        let accepted =
            aimass_trust::check_signature(&self.public_key, &self.message, &self.signature);
        if self.json {
            let mut report = Report::new(true);
            report.field("accepted", accepted);
            report.print();
        }
        if !accepted {
            bail!(
                "refused: expected the signature of this message by a canonical key of prime order, \
                 all in lower-case hexadecimal, got another"
            );
        }
        if !self.json {
            println!("accepted");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_accepted_or_refused_with_what_was_expected() {
        let check = |message: &str| CheckSignature {
            public_key: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
                .to_owned(),
            message: message.to_owned(),
            signature: "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                        085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
                .to_owned(),
            json: false,
        };
        assert!(check("72").run().is_ok());
        for wrong in ["", "7", "73"] {
            let error = check(wrong).run().expect_err(wrong).to_string();
            assert!(error.starts_with("refused: expected"), "{error}");
        }
    }
}
