import LanfsNetwork
import NIOCore

/// Whether an address is on one of this machine's own networks: reached without a router.
enum LocalNetworks {
    /// `address`: as `ServerConnection.address` writes it.
    static func contains(_ address: String) -> Bool {
        guard let endpoint = Endpoint(address, defaultPort: 0),
            let remote = bytes(of: endpoint.host)
        else { return false }
        if isLoopback(remote) { return true }
        for device in (try? System.enumerateDevices()) ?? [] {
            guard let own = device.address?.ipAddress.flatMap(bytes),
                let mask = device.netmask?.ipAddress.flatMap(bytes)
            else { continue }
            if isSameNetwork(remote, own, mask: mask) { return true }
        }
        return false
    }

    static func isSameNetwork(_ one: [UInt8], _ other: [UInt8], mask: [UInt8]) -> Bool {
        guard one.count == other.count, mask.count == one.count, mask.contains(where: { $0 != 0 }) else { return false }
        return one.indices.allSatisfy { (one[$0] ^ other[$0]) & mask[$0] == 0 }
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
