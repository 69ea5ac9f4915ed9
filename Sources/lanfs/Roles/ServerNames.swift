import LanfsClient
import LanfsCrypto
import LanfsNetwork
import LanfsProtocol

/// What the servers of a volume call themselves, which only discovery tells: hints, for people.
struct ServerNames: Sendable {
    private let names: [ServerID: String]

    init(_ names: [ServerID: String]) { self.names = names }

    static func found(by session: ClientSession, of volume: VolumeID?) async -> ServerNames {
        let found = (try? await session.finder.search(for: volume)) ?? []
        return ServerNames(Dictionary(found.map { ($0.server, $0.name) }, uniquingKeysWith: { first, _ in first }))
    }

    /// Of those that answered.
    subscript(server: ServerID) -> String? { names[server] }

    /// What to call it on a terminal.
    func shown(_ server: ServerID) -> String {
        names[server].map { Printable.text(Array($0.utf8)) } ?? fingerprint(of: server.bytes)
    }

    /// The one server that `word` means: by its name, its address with or without the port, or its fingerprint.
    func server(_ word: String, among servers: [VolumeStatus.Server]) throws(CommandError) -> VolumeStatus.Server {
        let fits = servers.filter { server in
            word == names[server.server] || word == fingerprint(of: server.server.bytes) || word == server.address
                || word == server.address.flatMap { Endpoint($0, defaultPort: 0) }?.host
        }
        if let only = fits.first, fits.count == 1 { return only }
        let all = (fits.isEmpty ? servers : fits).map { "\n  \(description(of: $0))" }.joined()
        throw CommandError(
            fits.isEmpty ? .notFound : .usage,
            fits.isEmpty
                ? "no server of the volume is called '\(Printable.text(Array(word.utf8)))'; it has:\(all)"
                : "several servers are called '\(Printable.text(Array(word.utf8)))'; give one's fingerprint:\(all)")
    }

    private func description(of server: VolumeStatus.Server) -> String {
        [names[server.server].map { Printable.text(Array($0.utf8)) }, fingerprint(of: server.server.bytes), server.address]
            .compactMap { $0 }.joined(separator: "  ")
    }
}
