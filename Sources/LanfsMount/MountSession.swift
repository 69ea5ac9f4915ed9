import CFuse
import Glibc
import LanfsClient
import SystemPackage

/// Why a mount ended.
public enum MountEnd: Equatable, Sendable {
    /// `unmount` was called.
    case requested
    /// Somebody else took it out of the tree (umount, fusermount3 -u) and the last user is gone.
    case external
    case failed(Errno)
}

/// A volume mounted on a folder, from the moment the kernel knows it until nobody can reach it any more.
public final class MountSession: Sendable {
    private struct State {
        var wantsEnd = false
        /// Why the first of the reading threads ended.
        var loopEnd: RequestLoop.End?
        var end: MountEnd?
        var waiters: [CheckedContinuation<MountEnd, Never>] = []
    }

    /// Absolute, without symbolic links.
    public let path: String
    public let invalidator: Invalidator
    private let mount: KernelMount
    private let bridge: Bridge
    private let session: FuseSession
    private let loop: RequestLoop
    private let onUnmount: @Sendable (MountEnd) async -> Void
    private let state = ConditionLock(State())

    /// Mounts `operations` on `path` and starts to serve requests. Returns when the kernel and we have agreed on terms;
    /// from then on requests are answered.
    ///
    /// `onUnmount` runs once, when no request can come any more: the place to commit everything. The session counts as
    /// ended when it returns.
    public static func mount(
        _ operations: some FileSystemOperations, on path: String, options: MountOptions,
        onUnmount: @escaping @Sendable (MountEnd) async -> Void = { _ in }
    ) throws(MountError) -> MountSession {
        let path = try MountPoint.prepare(path, nonEmpty: options.nonEmpty)
        let mount = try KernelMount.mount(on: path, options: options)
        let bridge = Bridge(operations, options)
        let session: FuseSession
        do {
            session = try FuseSession(bridge, options: options, connection: mount.connection)
        } catch {
            _ = mount.detach()
            throw error
        }
        let mounted = MountSession(mount, bridge, session, onUnmount)
        do {
            try mounted.start(options)
        } catch {
            // What was started ends by itself once the connection is gone.
            _ = mount.detach()
            mounted.loop.stop()
            throw error
        }
        return mounted
    }

    private init(
        _ mount: KernelMount, _ bridge: Bridge, _ session: FuseSession,
        _ onUnmount: @escaping @Sendable (MountEnd) async -> Void
    ) {
        path = mount.path
        self.mount = mount
        self.bridge = bridge
        self.session = session
        self.onUnmount = onUnmount
        invalidator = Invalidator(session)
        loop = RequestLoop(session, connection: mount.connection) { [state] end in
            state.change { if $0.loopEnd == nil { $0.loopEnd = end } }
        }
    }

    private func start(_ options: MountOptions) throws(MountError) {
        let watcher = try PlainThread(name: "lanfs-interrupt") { [bridge] in bridge.pending.watch() }
        let notifier = try PlainThread(name: "lanfs-notify") { [invalidator] in invalidator.run() }
        do {
            try loop.start(threads: options.threads)
            guard bridge.agreement.wait(upTo: .seconds(10), for: { $0 }) != nil else {
                throw MountError.kernelTooOld("it did not agree on a protocol")
            }
            mount.setReadAhead(options.readAhead)
            try PlainThread(name: "lanfs-unmount") { [self] in supervise(notifier: notifier, watcher: watcher) }.detach()
        } catch {
            bridge.pending.close(answering: .socketNotConnected)
            invalidator.stop()
            watcher.join()
            notifier.join()
            throw error as? MountError ?? .libraryRefused("start")
        }
    }

    // MARK: while mounted

    /// Replies from now on follow `policy`. What the kernel was promised before stays promised: whoever shortens the
    /// policy invalidates it.
    public func setCachePolicy(_ policy: CachePolicy) { bridge.policy.set(policy) }

    /// Whether `Invalidation.allNames` works on this kernel (Linux 6.16 and later).
    public var canInvalidateAllNames: Bool { bridge.agreement.withLock { $0?.hasEpochs ?? false } }

    /// Requests whose answers are being worked on.
    public var pendingRequests: Int { bridge.pending.count }

    /// Returns when somebody who looks at the folder gets an answer.
    public func waitUntilAnswering(upTo limit: Duration = .seconds(30)) throws(MountError) {
        let answer = ConditionLock<Int32?>(nil)
        let path = path
        try PlainThread(name: "lanfs-probe") {
            var usage = statvfs()
            let result = statvfs(path, &usage) == 0 ? 0 : errno
            answer.change { $0 = result }
        }.detach()
        switch answer.wait(upTo: limit, for: { $0 }) {
        case 0?: return
        case let error?: throw .mountPointUnusable(path, Errno(rawValue: error))
        case nil: throw .noAnswer(path, seconds: Int(limit.components.seconds))
        }
    }

    // MARK: the end

    /// Takes the mount out of the tree and ends it: requests that still wait fail, files still open are cut off after a
    /// moment. Returns at once; `waitUntilUnmounted` waits.
    public func unmount() {
        state.change { $0.wantsEnd = true }
    }

    /// Waits for the end, `onUnmount` included.
    @discardableResult
    public func waitUntilUnmounted() async -> MountEnd {
        await withCheckedContinuation { continuation in
            let end = state.withLock { state -> MountEnd? in
                if state.end == nil { state.waiters.append(continuation) }
                return state.end
            }
            if let end { continuation.resume(returning: end) }
        }
    }

    /// The thread that sees to the end, whichever side it comes from.
    private func supervise(notifier: PlainThread, watcher: PlainThread) {
        let end = waitForEnd()
        session.expectEnd()
        // Nobody must find a dead mount: after an abort it is still in the tree.
        _ = mount.detach()
        // In this order: a notification may hold a lock of the kernel's that is only free when the requests under way
        // are answered, so requests are read, and refused, until the notifier has returned.
        loop.refuse()
        bridge.pending.close(answering: .socketNotConnected)
        invalidator.stop()
        notifier.join()
        watcher.join()
        loop.stop()
        session.destroy()
        if let keepAlive = mount.keepAlive { close(keepAlive) }
        Task {
            await onUnmount(end)
            let waiters = state.change { state in
                state.end = end
                defer { state.waiters = [] }
                return state.waiters
            }
            waiters.forEach { $0.resume(returning: end) }
        }
    }

    private func waitForEnd() -> MountEnd {
        let loopEnd = state.wait { state -> RequestLoop.End?? in
            if let end = state.loopEnd { return .some(end) }
            return state.wantsEnd ? .some(nil) : nil
        }
        switch loopEnd ?? nil {
        case .failed(let error)?: return .failed(error)
        case .disconnected?, .stopped?: return .external
        case nil: break
        }
        _ = mount.detach()
        // Not in use: the kernel closes the connection by itself. In use: what waits is cut off.
        _ = state.wait(upTo: .milliseconds(500)) { $0.loopEnd }
        return .requested
    }
}
