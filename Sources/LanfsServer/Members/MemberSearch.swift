import LanfsNetwork
import LanfsProtocol
import Synchronization

/// Looks for a member by broadcast, now and then: one that is gone for days must not make the others ask every second.
final class MemberSearch: Sendable {
    private let server: ServerID
    private let volume: VolumeID
    private let context: MemberContext
    private let last = Mutex<ContinuousClock.Instant?>(nil)

    init(_ server: ServerID, of volume: VolumeID, _ context: MemberContext) {
        self.server = server
        self.volume = volume
        self.context = context
    }

    func run() async -> [Endpoint] {
        let now = ContinuousClock.now
        let isDue = last.withLock { last in
            if let last, now - last < context.options.searchInterval { return false }
            last = now
            return true
        }
        guard isDue, context.discoveryPort > 0 else { return [] }
        var search = ServerSearch()
        search.port = context.discoveryPort
        search.wanted = server
        search.volumeToken = { [volume] in Discovery.token(volume: volume, nonce: $0, RegisterVerifier()) }
        return (try? await search.run(group: context.group))?.first { $0.server == server }?.endpoints ?? []
    }
}
