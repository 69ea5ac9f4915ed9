import Glibc
import NIOCore
import NIOPosix

/// A host (name or IP address) and a port, as a person writes it or discovery finds it.
public struct Endpoint: Hashable, Sendable, CustomStringConvertible {
    public var host: String
    public var port: Int

    public init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// `nil` for addresses that are not of the Internet.
    public init?(_ address: SocketAddress) {
        guard let host = address.ipAddress, let port = address.port else { return nil }
        self.init(host: host, port: port)
    }

    /// Reads `HOST`, `HOST:PORT`, `[IPV6]`, `[IPV6]:PORT` or a bare IPv6 address. `nil` when it is none of these.
    public init?(_ text: String, defaultPort: Int) {
        var host = text[...]
        var port: Int? = defaultPort
        if text.first == "[" {
            guard let end = text.firstIndex(of: "]") else { return nil }
            host = text[text.index(after: text.startIndex)..<end]
            let rest = text[text.index(after: end)...]
            if !rest.isEmpty {
                guard rest.first == ":" else { return nil }
                port = Endpoint.port(rest.dropFirst())
            }
        } else if let colon = text.firstIndex(of: ":"), text.lastIndex(of: ":") == colon {
            host = text[..<colon]
            port = Endpoint.port(text[text.index(after: colon)...])
        }
        guard let port, !host.isEmpty, !host.utf8.contains(where: { $0 <= 0x20 }) else { return nil }
        self.init(host: String(host), port: port)
    }

    private static func port(_ text: Substring) -> Int? {
        guard let port = UInt16(text), port > 0 else { return nil }
        return Int(port)
    }

    public var description: String { host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)" }

    /// Every address of the host, at least one. Names are looked up on a thread of NIO's pool, since the resolver
    /// blocks.
    public func addresses() async throws(NetworkError) -> [SocketAddress] {
        // An address written in digits needs no resolver, hence no thread.
        if let addresses = try? lookUp(flags: AI_NUMERICHOST).get(), !addresses.isEmpty { return addresses }
        do {
            return try await NIOThreadPool.singleton.runIfActive { lookUp(flags: 0) }.get()
        } catch let error as NetworkError {
            throw error
        } catch {
            throw .cancelled
        }
    }

    /// `EAI_SYSTEM` and friends; `port` was checked to fit 16 bits or came from the kernel.
    private func lookUp(flags: Int32) -> Result<[SocketAddress], NetworkError> {
        var hints = addrinfo()
        hints.ai_flags = flags
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var first: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(host, nil, &hints, &first)
        guard status == 0 else {
            return .failure(.unresolvable(host: host, reason: String(cString: gai_strerror(status))))
        }
        defer { freeaddrinfo(first) }
        var addresses: [SocketAddress] = []
        var next = first
        while let info = next?.pointee {
            next = info.ai_next
            guard let raw = info.ai_addr else { continue }
            let address: SocketAddress
            switch info.ai_family {
            case AF_INET:
                address = raw.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { SocketAddress($0.pointee) }
            case AF_INET6:
                address = raw.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { SocketAddress($0.pointee) }
            default: continue
            }
            var withPort = address
            withPort.port = port
            if !addresses.contains(withPort) { addresses.append(withPort) }
        }
        return addresses.isEmpty
            ? .failure(.unresolvable(host: host, reason: "no IPv4 or IPv6 address")) : .success(addresses)
    }
}

extension SocketAddress {
    /// As people write it: `192.168.1.5:40123`, `[fe80::1]:40123`. NIO's own description repeats the address twice.
    var text: String { Endpoint(self)?.description ?? description }
}

/// What the system said, with the name of the call that said it.
func reason(of error: any Error) -> String {
    switch error {
    case let error as IOError: String(cString: strerror(error.errnoCode))
    case ChannelError.connectTimeout: "no answer"
    case let error as NetworkError: error.description
    case is CancellationError: "cancelled"
    default: "\(error)"
    }
}
