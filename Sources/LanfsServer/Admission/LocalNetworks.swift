import LanfsNetwork
import NIOCore

/// Whether an address is on one of this machine's own networks: reached without a router.
enum LocalNetworks {
    /// An interface's address and netmask, 4 or 16 bytes each.
    struct Network: Equatable {
        var address: [UInt8]
        var mask: [UInt8]

        func contains(_ other: [UInt8]) -> Bool {
            guard address.count == other.count, mask.count == other.count, mask.contains(where: { $0 != 0 }) else {
                return false
            }
            return other.indices.allSatisfy { (address[$0] ^ other[$0]) & mask[$0] == 0 }
        }
    }

    /// `address`: as `ServerConnection.address` writes it.
    static func contain(_ address: String, networks: [Network] = ofThisMachine()) -> Bool {
        guard let endpoint = Endpoint(address, defaultPort: 0), let remote = bytes(of: endpoint.host) else {
            return false
        }
        return isLoopback(remote) || networks.contains { $0.contains(remote) }
    }

    static func ofThisMachine() -> [Network] {
        ((try? System.enumerateDevices()) ?? []).compactMap { device in
            guard let address = device.address?.ipAddress.flatMap(bytes),
                let mask = device.netmask?.ipAddress.flatMap(bytes)
            else { return nil }
            return Network(address: address, mask: mask)
        }
    }

    /// Where a person can connect to who listens at `bound`: "every address" is written out, as far as it is IPv4 (the
    /// others come in several kinds, most of which mean little to a person) and not loopback.
    static func reachable(_ bound: Endpoint) -> [Endpoint] {
        guard bound.host == "::" || bound.host == "0.0.0.0" else { return [bound] }
        let addresses = ofThisMachine().map(\.address).filter { $0.count == 4 && !isLoopback($0) }
        if addresses.isEmpty { return [bound] }
        return addresses.map { Endpoint(host: $0.map(String.init).joined(separator: "."), port: bound.port) }
    }

    static func isLoopback(_ address: [UInt8]) -> Bool {
        address.count == 4 ? address[0] == 127 : address == [UInt8](repeating: 0, count: 15) + [1]
    }

    /// 4 or 16 bytes; an IPv4 address that a socket for both kinds shows as IPv6 is IPv4.
    static func bytes(of host: String) -> [UInt8]? {
        // A zone, as in fe80::1%eth0, says through which interface, not where.
        let digits = host.prefix { $0 != "%" }
        guard let address = try? SocketAddress(ipAddress: String(digits), port: 0) else { return nil }
        switch address {
        case .v4(let v4):
            return withUnsafeBytes(of: v4.address.sin_addr) { Array($0) }
        case .v6(let v6):
            let bytes = withUnsafeBytes(of: v6.address.sin6_addr) { Array($0) }
            let mapped = [UInt8](repeating: 0, count: 10) + [0xFF, 0xFF]
            return bytes.starts(with: mapped) ? Array(bytes.dropFirst(12)) : bytes
        case .unixDomainSocket:
            return nil
        }
    }
}
