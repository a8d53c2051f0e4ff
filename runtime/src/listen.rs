//! Listening sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

/// Listens on `address`. The unspecified IPv6 address takes IPv4 connections too; on a machine without IPv6 it becomes
/// the unspecified IPv4 address. The listener is non-blocking, as asynchronous runtimes want it.
///
/// # Errors
/// When the address is taken or not this machine's.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let every_address = address.ip().is_unspecified() && address.is_ipv6();
    let fallback = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
    let listener = match TcpListener::bind(address) {
        // Other errors, such as a port that is taken, would only be told about the wrong address.
        Err(error) if every_address && is_without_ipv6(&error) => TcpListener::bind(fallback),
        outcome => outcome,
    }?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The kernel's answers where IPv6 is compiled out or switched off.
fn is_without_ipv6(error: &io::Error) -> bool {
    /// `EAFNOSUPPORT` of Linux.
    const NO_SUCH_FAMILY: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(NO_SUCH_FAMILY)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_port_that_is_taken_is_refused() {
        let first = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let error = bind(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn every_address_includes_those_of_ipv4() {
        let listener = bind("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}
