import CFuse
import Glibc
import LanfsClient
import LanfsFileSystem
import SystemPackage

/// Why a mount ended.
public enum MountEnd: Equatable, Sendable {
    /// `unmount` was called.
    case requested
    /// Somebody else took it out of the tree (umount, fusermount3 -u) and the last user is gone.
    case external
    case failed(Errno)
}

/// A volume mounted on a folder, from the moment the kernel knows it until nobody can reach it any more. It lives until
/// then, whoever lets go of it.
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
    let mount: KernelMount
    private let bridge: Bridge
    let session: FuseSession
    private let loop: RequestLoop
    private let onUnmount: @Sendable (MountEnd) async -> Void
    private let state = ConditionLock(State())

    /// Throws what `mount` would have against the folder, before anything that takes long is done for it.
    public static func check(_ path: String, nonEmpty: Bool) throws(MountError) {
        _ = try MountPoint.prepare(path, nonEmpty: nonEmpty)
    }

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
            mount.detach()
            throw error
        }
        let mounted = MountSession(mount, bridge, session, onUnmount)
        do {
            try mounted.start(options)
        } catch {
            // What was started ends by itself once the connection is gone.
            mount.detach()
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
        loop = RequestLoop(session, connection: mount.connection) { [state] end in
            state.change { if $0.loopEnd == nil { $0.loopEnd = end } }
        }
    }

    private func start(_ options: MountOptions) throws(MountError) {
        let watcher = try PlainThread(name: "lanfs-interrupt") { [bridge] in bridge.pending.watch() }
        do throws(MountError) {
            try loop.start(threads: options.threads)
            try awaitAgreement()
            mount.setReadAhead(options.readAhead)
            try PlainThread(name: "lanfs-unmount") { [self] in supervise(watcher: watcher) }
                .detach()
        } catch {
            bridge.pending.close(answering: .socketNotConnected)
            watcher.join()
            throw error
        }
    }

    private func awaitAgreement() throws(MountError) {
        let deadline = MonotonicTime.now.adding(.seconds(10))
        while bridge.agreement.wait(upTo: .milliseconds(100), for: { $0 }) == nil {
            if state.withLock({ $0.loopEnd }) != nil { throw .unmountedMeanwhile(path) }
            if MonotonicTime.now > deadline { throw .kernelTooOld("it did not agree on a protocol") }
        }
    }

    // MARK: while mounted

    /// Requests whose answers are being worked on.
    public var pendingRequests: Int { bridge.pending.count }

    /// Returns when the volume answers what somebody who looks at the folder asks first.
    ///
    /// Asked of the volume and not through the folder: a process that waits for its own mount cannot be killed, for its
    /// connection to the kernel, whose end would free it, is only closed when its last thread is gone. For the same
    /// reason no part of this program may use the folder.
    public func waitUntilAnswering(upTo limit: Duration = .seconds(30)) async throws(MountError) {
        let result: Result<Attributes, Errno>?
        switch bridge.operations.attributes(of: rootInode) {
        case .done: return
        case .failed(let error): throw .mountPointUnusable(path, error)
        case .later(let work, _):
            result = await withTaskGroup(of: Result<Attributes, Errno>?.self) { group in
                group.addTask { await work() }
                group.addTask {
                    try? await Task.sleep(for: limit)
                    return nil
                }
                defer { group.cancelAll() }
                return await group.next() ?? nil
            }
        }
        switch result {
        case .success?: return
        case .failure(let error)?: throw .mountPointUnusable(path, error)
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
    private func supervise(watcher: PlainThread) {
        let end = waitForEnd()
        session.expectEnd()
        // In this order: requests are read, and refused, until none is under way.
        loop.refuse()
        bridge.pending.close(answering: .socketNotConnected)
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
        case .failed(let error)?:
            mount.detach()
            return .failed(error)
        case .disconnected?, .stopped?:
            // After an abort it is still in the tree: nobody must find a dead mount.
            mount.detachIfDead()
            return .external
        case nil: break
        }
        mount.detach()
        // Not in use: the kernel closes the connection by itself. In use: what waits is cut off.
        _ = state.wait(upTo: .milliseconds(500)) { $0.loopEnd }
        return .requested
    }
}
