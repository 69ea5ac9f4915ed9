import LanfsCrypto
import LanfsProtocol
import Logging

/// What is worth a line of the log: a member goes or comes back, copying begins or is done.
struct MemberNews: Sendable {
    /// A pass goes page by page, and between two of them nothing waits.
    private static let pause = Duration.seconds(5)

    private var health: [ServerID: MemberHealth] = [:]
    private var isCopying = false
    private var lastBusy = Duration.zero
    private var copied = 0
    private var bytes = 0

    mutating func copied(_ count: Int) {
        copied += 1
        bytes += count
    }

    /// The lines for what changed since the last call.
    mutating func look(at core: MemberCore, now: Duration) -> [Logger.Message] {
        var lines: [Logger.Message] = []
        let view = core.view
        for member in view.config.servers where member.server != view.server && member.state != .gone {
            let current = view.health(of: member.server)
            let before = health.updateValue(current, forKey: member.server)
            // How it was before the first look is no news.
            guard let before, before != current else { continue }
            let name = fingerprint(of: member.server.bytes)
            switch current {
            case .alive: lines.append("server \(name) is there")
            case .suspect: lines.append("server \(name) is silent")
            case .lost: lines.append("server \(name) is lost: its blocks are copied elsewhere")
            }
        }
        let count = core.waiting + core.copying
        if count > 0 {
            lastBusy = now
            if !isCopying { lines.append("copying to other servers: \(count) blocks so far") }
            isCopying = true
        } else if isCopying, now - lastBusy >= Self.pause {
            lines.append("copying done: \(copied) blocks, \(humanSize(UInt64(bytes)))")
            (isCopying, copied, bytes) = (false, 0, 0)
        }
        return lines
    }
}
