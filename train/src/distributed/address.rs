//! Address of the first rank: how it is found, and which address of this machine leads to it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use super::DistributedError;

/// Time between two attempts to connect.
const AGAIN: Duration = Duration::from_millis(200);

/// Longest time that one attempt to connect takes.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Longest time for which an unknown name is looked up again: names of new machines become known late.
const UNKNOWN: Duration = Duration::from_secs(30);

/// Binds the port at which the first rank is found, on all interfaces.
///
/// # Errors
/// [`DistributedError::Port`] when the port is in use, or not allowed.
pub(super) fn listen(port: u16) -> Result<TcpListener, DistributedError> {
    let v6 = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port));
    match v6 {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        }
        bound => bound,
    }
    .map_err(|source| DistributedError::Port { port, source })
}

/// Connects to `host`:`port` as soon as something listens there; returns the address of this machine that leads to it.
///
/// # Errors
/// [`DistributedError::Resolve`] or [`DistributedError::Unreachable`] after the timeout.
pub(super) fn reach(host: &str, port: u16, timeout: Duration) -> Result<IpAddr, DistributedError> {
    let begun = Instant::now();
    loop {
        match resolve(host, port) {
            Err(source) if begun.elapsed() >= timeout.min(UNKNOWN) => {
                return Err(DistributedError::Resolve { host: host.into(), source });
            }
            Err(_) => {}
            Ok(addresses) => match connect(&addresses, timeout) {
                Ok(local) => return Ok(local),
                Err(source) if begun.elapsed() >= timeout => {
                    let address = format!("{host}:{port}");
                    return Err(DistributedError::Unreachable { address, waited: timeout, source });
                }
                Err(_) => {}
            },
        }
        thread::sleep(AGAIN);
    }
}

fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    match found.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
        false => Ok(found),
    }
}

fn connect(addresses: &[SocketAddr], timeout: Duration) -> io::Result<IpAddr> {
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(address, ATTEMPT.min(timeout)) {
            Ok(stream) => return Ok(stream.local_addr()?.ip()),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// Address of this machine at which `others` reach it.
///
/// The machine of the first rank may know its own name as a loopback address, to which no other machine leads.
pub(super) fn reachable(own: IpAddr, others: &[IpAddr]) -> IpAddr {
    let remote = others.iter().find(|other| !other.is_loopback());
    remote.filter(|_| own.is_loopback()).and_then(|&remote| towards(remote).ok()).unwrap_or(own)
}

/// Address of the interface that leads to `remote`; nothing is sent.
fn towards(remote: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr =
        if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    // The number of the port does not matter: choosing the interface sends nothing.
    socket.connect((remote, 9))?;
    Ok(socket.local_addr()?.ip())
}
