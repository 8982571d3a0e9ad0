use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use crate::index::PackageIndex;

/// The hosts that a guest may reach, by exact name, each on one port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowlist {
    hosts: BTreeSet<(String, u16)>,
    /// Those that may be inside: this host's own operator named them by URL.
    anywhere: BTreeSet<(String, u16)>,
}

/// Where an allowed host may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Outside: a name that resolves to an inside address is refused.
    Outside,
    /// Anywhere, this host included.
    Anywhere,
}

/// The port of a host that is named without one.
const HTTPS: u16 = 443;

impl Allowlist {
    /// An allowlist of `HOST` or `HOST:PORT` entries; the port is 443 where none is given. A host is a
    /// name, compared without regard to case; one with letters beyond ASCII stands for its DNS form. There are
    /// no wildcards and no addresses.
    ///
    /// # Errors
    ///
    /// An entry is neither.
    pub fn new(entries: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, AllowlistError> {
        let hosts = entries
            .into_iter()
            .map(|entry| parse(entry.as_ref()))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            hosts,
            anywhere: BTreeSet::new(),
        })
    }

    /// Allows the host of `index` too, wherever it is: unlike the names above it may be an address, and may
    /// lead inside.
    #[must_use]
    pub fn with_index(mut self, index: &PackageIndex) -> Self {
        self.anywhere
            .insert((index.host().to_owned(), index.port()));
        self
    }

    /// Whether a guest may connect to `host` on `port`.
    #[must_use]
    pub fn allows(&self, host: &str, port: u16) -> bool {
        self.reach(host, port).is_some()
    }

    /// Where `host` may be, if a guest may connect to it on `port`.
    pub(crate) fn reach(&self, host: &str, port: u16) -> Option<Reach> {
        let asked = (host.to_ascii_lowercase(), port);
        if self.anywhere.contains(&asked) {
            Some(Reach::Anywhere)
        } else {
            self.hosts.contains(&asked).then_some(Reach::Outside)
        }
    }
}

impl fmt::Display for Allowlist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.hosts.union(&self.anywhere);
        let entries = entries.map(|(host, port)| match *port {
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
    // It knows every way to write an IPv4 address, and the DNS form of other alphabets.
    let Ok(url::Host::Domain(name)) = url::Host::parse(host) else {
        return Err(error());
    };
    if port == 0 || !is_host_name(&name) || (host.is_ascii() && !name.eq_ignore_ascii_case(host)) {
        return Err(error());
    }
    Ok((name, port))
}

/// A DNS host name (RFC 1123).
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
    host.len() <= 253 && host.split('.').all(label)
}

/// Whether an address is the host's own or its neighbourhood's: a name on the allowlist that resolves
/// there would turn the proxy into a way in. Ranges are those of IANA's special-purpose registries; what
/// is merely nobody's, such as the addresses of documentation, leads out.
pub(crate) fn is_inward(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_inward_v4(v4),
        IpAddr::V6(v6) => match embedded(v6) {
            Some(v4) => is_inward_v4(v4),
            None => is_inward_v6(v6),
        },
    }
}

fn is_inward_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || first == 0
        // Reserved, and broadcast.
        || first >= 240
        // Carrier-grade NAT, RFC 6598: a provider's inside.
        || (first == 100 && (64..128).contains(&second))
        // Protocol assignments, RFC 6890, and a laboratory's networks, RFC 2544.
        || (first == 192 && second == 0 && third == 0)
        || (first == 198 && (18..20).contains(&second))
}

/// Only global unicast leads out, and what tunnels through other people's relays does not.
fn is_inward_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let is_global = first & 0xe000 == 0x2000;
    // 2001::/23: Teredo and other protocols' own.
    !is_global || (first == 0x2001 && second < 0x0200)
}

/// The IPv4 address that a packet to this one would end at: IPv4-mapped and -compatible, NAT64 by the
/// well-known prefix (RFC 6052), 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(v4(high, low))
        }
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
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
            "a%2eb",
            "a.example.",
            "user@a.example",
            "0x7f000001",
            "127.1",
            "2130706433",
        ] {
            assert_eq!(
                Allowlist::new([bad]),
                Err(AllowlistError(bad.to_owned())),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_name_in_another_alphabet_stands_for_its_dns_form() {
        let list = Allowlist::new(["Bücher.example"]).unwrap();
        assert!(list.allows("xn--bcher-kva.example", 443));
        assert!(!list.allows("bücher.example", 443));
    }

    #[test]
    fn only_a_configured_index_may_be_an_address_or_lead_inside() {
        let index = "https://[::1]:8443/simple/".parse().unwrap();
        let list = Allowlist::new(["a.example"]).unwrap().with_index(&index);
        assert_eq!(list.reach("[::1]", 8443), Some(Reach::Anywhere));
        assert_eq!(list.reach("A.example", 443), Some(Reach::Outside));
        assert_eq!(list.reach("[::1]", 443), None);
        assert_eq!(list.to_string(), "[::1]:8443 a.example");
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
            "::127.0.0.1",
            "0.1.2.3",
            "100.127.255.255",
            "192.0.0.8",
            "198.19.0.1",
            "240.0.0.1",
            "239.255.255.250",
            "64:ff9b::10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2002:c0a8:101::1",
            "2001:0:7f00:1::1",
            "fec0::1",
            "ff05::1",
            "febf::1",
            "fd00:ec2::254",
            "100::1",
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
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
            "192.0.1.1",
            "198.20.0.1",
            "203.0.113.1",
        ] {
            assert!(!is_inward(outward.parse().unwrap()), "{outward}");
        }
    }
}
