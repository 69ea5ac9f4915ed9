import CFuse
import Glibc
import LanfsFileSystem
import SystemPackage

/// Something the kernel remembers that is no longer true.
public enum Invalidation: Equatable, Sendable {
    /// An inode's attributes, and with them its pages: where the size or the time of the last change is another one when they are
    /// asked for again, the kernel drops them by itself. Never waits.
    case attributes(InodeNumber)
    /// A name: asked for again at its next use.
    case entry(parent: InodeNumber, name: [UInt8])
    /// A name that is gone, with what it led to: watchers of the directory are told so.
    case deleted(parent: InodeNumber, child: InodeNumber, name: [UInt8])
    /// Every name of the volume, at the price of one. Needs `MountSession.canInvalidateAllNames`.
    case allNames
}

extension Invalidation {
    /// Whose lock the kernel takes for it.
    fileprivate var directory: InodeNumber? {
        switch self {
        case .entry(let parent, _), .deleted(let parent, _, _): parent
        case .attributes, .allNames: nil
        }
    }
}

/// Tells the kernel what it must forget, from a thread of its own: the kernel takes a directory's lock for a name, and
/// whoever holds that may be waiting for an answer of ours.
///
/// Such a wait cannot be killed, and whoever waits keeps the connection open, so that what it waits for never fails: killed
/// in there, this process would stay for ever, the mount point with it, and whoever looks at either. So nothing is sent about
/// a directory while an answer is owed about it, and pages are never told of, for which the kernel would wait until every read
/// under way is answered.
///
/// Publish the new state first, hold no lock, and never let an answer wait for a notification.
public final class Invalidator: Sendable {
    private struct State {
        var queue: [Invalidation] = []
        /// Taken out of the queue so far; `posted` put in.
        var posted: UInt64 = 0
        var delivered: UInt64 = 0
        var stopped = false
        var waiters: [(until: UInt64, continuation: CheckedContinuation<Void, Never>)] = []
    }

    /// At most so many wait to be sent.
    public static let capacity = 65_536

    /// How soon it is looked again whether a directory is free.
    private static let pause = Duration.milliseconds(2)

    private let session: FuseSession
    private let isHeld: @Sendable (InodeNumber) -> Bool
    private let state = ConditionLock(State())

    /// - Parameter isHeld: an answer about this directory is owed.
    init(_ session: FuseSession, isHeld: @escaping @Sendable (InodeNumber) -> Bool) {
        self.session = session
        self.isHeld = isHeld
    }

    /// Never waits. False when the queue is full or the mount has ended: nothing was queued then; `delivered` waits for
    /// room.
    @discardableResult
    public func post(_ invalidation: Invalidation) -> Bool {
        state.change { state in
            guard !state.stopped, state.posted - state.delivered < UInt64(Self.capacity) else { return false }
            // What changes often is told once: the same again right behind itself says nothing.
            if state.queue.last == invalidation { return true }
            state.queue.append(invalidation)
            state.posted += 1
            return true
        }
    }

    /// The kernel asks for the inode's attributes at its next use. At once, on the caller's thread: unlike all others this
    /// notification waits for nothing.
    public func expire(_ inode: InodeNumber) { send(.attributes(inode)) }

    /// Returns when the kernel has taken everything posted before, or the mount has ended.
    public func delivered() async {
        await withCheckedContinuation { continuation in
            let done = state.withLock { state -> Bool in
                if state.stopped || state.delivered == state.posted { return true }
                state.waiters.append((state.posted, continuation))
                return false
            }
            if done { continuation.resume() }
        }
    }

    /// Runs on the thread of its own until `stop`.
    func run() {
        while true {
            let batch = state.wait { state -> [Invalidation]? in
                if state.stopped { return [] }
                guard !state.queue.isEmpty else { return nil }
                defer { state.queue = [] }
                return state.queue
            }
            guard let batch, !batch.isEmpty else { return }
            for invalidation in batch {
                if let directory = invalidation.directory { waitUntilFree(directory) }
                send(invalidation)
                let ready = state.withLock { state -> [CheckedContinuation<Void, Never>] in
                    state.delivered += 1
                    let ready = state.waiters.filter { $0.until <= state.delivered }
                    if !ready.isEmpty { state.waiters.removeAll { $0.until <= state.delivered } }
                    return ready.map(\.continuation)
                }
                ready.forEach { $0.resume() }
            }
        }
    }

    private func waitUntilFree(_ directory: InodeNumber) {
        while isHeld(directory), state.wait(upTo: Self.pause, for: { $0.stopped ? true : nil }) == nil {}
    }

    func stop() {
        let left = state.change { state in
            state.stopped = true
            state.queue = []
            defer { state.waiters = [] }
            return state.waiters
        }
        left.forEach { $0.continuation.resume() }
    }

    /// What the kernel does not know anyway (ENOENT) or cannot drop just now because it is in use needs no more.
    private func send(_ invalidation: Invalidation) {
        switch invalidation {
        case .attributes(let inode):
            // A negative offset: no pages.
            notify(FUSE_NOTIFY_INVAL_INODE.rawValue, fuse_notify_inval_inode_out(ino: inode, off: -1, len: 0), nil)
        case .entry(let parent, let name):
            var body = fuse_notify_inval_entry_out()
            body.parent = parent
            body.namelen = UInt32(name.count)
            notify(FUSE_NOTIFY_INVAL_ENTRY.rawValue, body, name)
        case .deleted(let parent, let child, let name):
            var body = fuse_notify_delete_out()
            body.parent = parent
            body.child = child
            body.namelen = UInt32(name.count)
            notify(FUSE_NOTIFY_DELETE.rawValue, body, name)
        case .allNames:
            notify(UInt32(LANFS_FUSE_NOTIFY_INC_EPOCH), (), nil)
        }
    }

    /// Written here and not through libfuse, which complains on stderr about answers that are no trouble.
    private func notify<Body>(_ code: UInt32, _ body: Body, _ name: [UInt8]?) {
        var header = fuse_out_header()
        header.error = Int32(bitPattern: code)
        var message: [UInt8] = []
        withUnsafeBytes(of: body) { message += $0 }
        if let name {
            message += name
            message.append(0)
        }
        header.len = UInt32(MemoryLayout<fuse_out_header>.size + message.count)
        let packet = withUnsafeBytes(of: header) { Array($0) } + message
        _ = packet.withUnsafeBytes { write(session.connection, $0.baseAddress, $0.count) }
    }
}
