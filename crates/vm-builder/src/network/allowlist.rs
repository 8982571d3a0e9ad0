use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

/// The hosts that a guest may reach, by exact name, each on one port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowlist(BTreeSet<(String, u16)>);

/// The port of a host that is named without one.
const HTTPS: u16 = 443;

impl Allowlist {
    /// An allowlist of `HOST` or `HOST:PORT` entries; the port is 443 where none is given. A host is a
    /// name, compared without regard to case; there are no wildcards and no addresses.
    ///
    /// # Errors
    ///
    /// An entry is neither.
    pub fn new(entries: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, AllowlistError> {
        entries
            .into_iter()
            .map(|entry| parse(entry.as_ref()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether a guest may connect to `host` on `port`.
    #[must_use]
    pub fn allows(&self, host: &str, port: u16) -> bool {
        self.0.contains(&(host.to_ascii_lowercase(), port))
    }
}

impl fmt::Display for Allowlist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.0.iter().map(|(host, port)| match *port {
            HTTPS => host.clone(),
            port => format!("{host}:{port}"),
        });
        f.write_str(&entries.collect::<Vec<_>>().join(" "))
    }
}

/// An entry that names no host.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}` is not a host to allow: write HOST or HOST:PORT, for example `packages.example.com`", .0.escape_debug())]
pub struct AllowlistError(String);

fn parse(entry: &str) -> Result<(String, u16), AllowlistError> {
    let error = || AllowlistError(entry.to_owned());
    let (host, port) = match entry.split_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| error())?),
        None => (entry, HTTPS),
    };
    if !is_host_name(host) || port == 0 {
        return Err(error());
    }
    Ok((host.to_ascii_lowercase(), port))
}

/// A DNS host name (RFC 1123), and not an IPv4 address, which would have a numeric last label.
fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253
        && host.split('.').all(label)
        && host
            .rsplit('.')
            .next()
            .is_some_and(|last| !last.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether an address is the host's own or its neighbourhood's: a name on the allowlist that resolves
/// there would turn the proxy into a way in.
pub(crate) fn is_inward(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_inward_v4(v4),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_inward_v4(v4),
            None => is_inward_v6(v6),
        },
    }
}

fn is_inward_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || first == 0
        // Carrier-grade NAT, RFC 6598: a provider's inside.
        || (first == 100 && (64..128).contains(&second))
}

fn is_inward_v6(address: Ipv6Addr) -> bool {
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_allowed_by_its_exact_name_and_port_whatever_the_case() {
        let list = Allowlist::new(["Registry.example", "mirror.example:8443"]).unwrap();
        assert!(list.allows("registry.EXAMPLE", 443));
        assert!(list.allows("mirror.example", 8443));
        for (host, port) in [
            ("registry.example", 80),
            ("mirror.example", 443),
            ("evil.registry.example", 443),
            ("registry.example.evil.example", 443),
            ("registry.example.", 443),
            ("203.0.113.1", 443),
        ] {
            assert!(!list.allows(host, port), "{host}:{port}");
        }
        assert_eq!(list.to_string(), "mirror.example:8443 registry.example");
    }

    #[test]
    fn an_entry_that_is_no_host_is_refused_by_name() {
        for bad in [
            "",
            "*",
            "*.example",
            "http://x.example",
            "10.0.0.1",
            "a..b",
            "-a.example",
            "x:0",
            "x:y",
            "[::1]",
            "a b",
        ] {
            assert_eq!(
                Allowlist::new([bad]),
                Err(AllowlistError(bad.to_owned())),
                "{bad}"
            );
        }
    }

    #[test]
    fn addresses_that_lead_inward_are_told_from_those_that_lead_out() {
        for inward in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
        ] {
            assert!(is_inward(inward.parse().unwrap()), "{inward}");
        }
        for outward in [
            "1.1.1.1",
            "151.101.0.223",
            "100.128.0.1",
            "172.32.0.1",
            "2606:4700::1",
            "::ffff:1.1.1.1",
        ] {
            assert!(!is_inward(outward.parse().unwrap()), "{outward}");
        }
    }
}
