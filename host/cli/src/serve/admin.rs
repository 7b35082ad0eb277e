//! Where the listener of operators is.

use anyhow::Context;
use std::net::SocketAddr;
use std::str::FromStr;
use tokio::net::TcpListener;

/// Where operators connect unless a flag says otherwise.
const DEFAULT: ([u8; 4], u16) = ([127, 0, 0, 1], 8003);

/// What `--admin-listen` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdminListen {
    Off,
    At(SocketAddr),
}

impl FromStr for AdminListen {
    type Err = String;

    fn from_str(text: &str) -> Result<AdminListen, String> {
        if text == "off" {
            return Ok(AdminListen::Off);
        }
        let wrong =
            |_| format!("expected an address such as 127.0.0.1:8003, or `off`, got {text:?}");
        text.parse().map(AdminListen::At).map_err(wrong)
    }
}

/// The listener of operators. Unless a flag asks for it there is one only beside a main listener
/// on a fixed loopback port, and a taken port is no reason not to serve.
///
/// # Errors
/// The address of the flag cannot be listened on.
pub(super) async fn listen(
    asked: Option<AdminListen>,
    main: SocketAddr,
) -> anyhow::Result<Option<TcpListener>> {
    match asked {
        Some(AdminListen::Off) => Ok(None),
        Some(AdminListen::At(address)) => {
            let listener = TcpListener::bind(address).await;
            let fault = || format!("{address} cannot be listened on for operators");
            listener.map(Some).with_context(fault)
        }
        None if !main.ip().is_loopback() || main.port() == 0 => Ok(None),
        None => match TcpListener::bind(SocketAddr::from(DEFAULT)).await {
            Ok(listener) => Ok(Some(listener)),
            Err(error) => {
                let (ip, port) = DEFAULT;
                let ip = ip.map(|byte| byte.to_string()).join(".");
                println!(
                    "no admin  {ip}:{port} is taken ({error}); --admin-listen chooses another"
                );
                Ok(None)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_off_is_read() {
        assert_eq!("off".parse(), Ok(AdminListen::Off));
        let address = "[::1]:9".parse().unwrap();
        assert_eq!("[::1]:9".parse(), Ok(AdminListen::At(address)));
        assert!("8003".parse::<AdminListen>().unwrap_err().contains("127.0.0.1:8003"));
    }

    #[tokio::test]
    async fn without_a_flag_only_a_fixed_loopback_server_has_one() {
        for main in ["0.0.0.0:8000", "127.0.0.1:0"] {
            assert!(listen(None, main.parse().unwrap()).await.unwrap().is_none(), "{main}");
        }
        let main = "0.0.0.0:8000".parse().unwrap();
        let asked = Some("127.0.0.1:0".parse().unwrap());
        let first = listen(asked, main).await.unwrap().unwrap();
        let taken = Some(AdminListen::At(first.local_addr().unwrap()));
        assert!(listen(taken, main).await.unwrap_err().to_string().contains("operators"));
        assert!(listen(Some(AdminListen::Off), main).await.unwrap().is_none());
    }
}
