//! Ports of 127.0.0.1: finding free ones, and knowing who listens on one.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::PathBuf;

/// They and their companions are below those that Linux gives to outgoing connections, or one of these might take
/// a port between our finding it free and the server's listening on it.
const RANGE: Range<u16> = 12_000..22_000;
/// SeaweedFS speaks gRPC this far above each of its ports.
const COMPANION: u16 = 10_000;

/// Different free ports, each with its companion. They are nobody's yet: another process may take one first.
pub(super) fn free(count: usize) -> Vec<u16> {
    let mut free = Vec::new();
    while free.len() < count {
        let port = fastrand::u16(RANGE);
        if !free.contains(&port) && is_free(port) && is_free(port + COMPANION) {
            free.push(port);
        }
    }
    free
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Whether it is this process that listens on the port.
pub(super) fn is_listener(pid: u32, port: u16) -> bool {
    let sockets: Vec<_> = listening_on(port)
        .into_iter()
        .map(|inode| PathBuf::from(format!("socket:[{inode}]")))
        .collect();
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    open.flatten()
        .filter_map(|fd| fs::read_link(fd.path()).ok())
        .any(|target| sockets.contains(&target))
}

/// The inodes of the sockets that listen on the port, of IPv4 and of IPv6.
fn listening_on(port: u16) -> Vec<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    tables
        .iter()
        .flatten()
        .flat_map(|table| table.lines())
        .filter_map(|line| {
            // As proc(5) has it: number, local address, remote address, state, …, and the inode as the tenth.
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            let (_, local) = fields.get(1)?.rsplit_once(':')?;
            let listens = *fields.get(3)? == "0A" && u16::from_str_radix(local, 16) == Ok(port);
            listens.then(|| fields.get(9).map(ToString::to_string))?
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_free_and_differ() {
        let ports = free(20);
        let held: Vec<_> = ports
            .iter()
            .map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)))
            .collect();
        assert!(held.iter().all(Result::is_ok));
    }

    #[test]
    fn who_listens_on_a_port_is_known() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(is_listener(std::process::id(), port));
        assert!(!is_listener(1, port));
        drop(listener);
        assert!(!is_listener(std::process::id(), port));
    }
}
