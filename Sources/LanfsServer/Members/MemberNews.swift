import LanfsCrypto
import LanfsProtocol
import Logging

/// What is worth a line of the log: a member goes or comes back, copying begins or is done.
struct MemberNews: Sendable {
    private var health: [ServerID: MemberHealth] = [:]
    private var isCopying = false
    private var copied = 0
    private var bytes = 0

    mutating func copied(_ count: Int) {
        copied += 1
        bytes += count
    }

    /// The lines for what changed since the last call.
    mutating func look(at core: MemberCore) -> [Logger.Message] {
        var lines: [Logger.Message] = []
        let view = core.view
        for member in view.config.servers where member.server != view.server && member.state != .gone {
            let now = view.health(of: member.server)
            let before = health.updateValue(now, forKey: member.server)
            // Whoever was not heard yet since the start is no news.
            guard let before, before != now else { continue }
            let name = fingerprint(of: member.server.bytes)
            switch now {
            case .alive: lines.append("server \(name) is there")
            case .suspect: lines.append("server \(name) is silent")
            case .lost: lines.append("server \(name) is lost: its blocks are copied elsewhere")
            }
        }
        let isBusy = core.waiting + core.copying > 0
        if isBusy, !isCopying {
            lines.append("copying to other servers: \(core.waiting + core.copying) blocks so far")
        } else if !isBusy, isCopying {
            lines.append("copying done: \(copied) blocks, \(humanSize(UInt64(bytes)))")
            (copied, bytes) = (0, 0)
        }
        isCopying = isBusy
        return lines
    }
}
