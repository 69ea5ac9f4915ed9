import NIOCore

/// How long a connection waits for what.
public struct Timeouts: Sendable {
    /// For TCP to connect.
    public var connect = Duration.seconds(3)
    /// From the TCP connection to the first message that proves the other side's keys. Bounds what a slow stranger
    /// holds.
    public var handshake = Duration.seconds(5)
    /// A client with requests under way that hears nothing at all for so long takes the server for dead, and after a fifth
    /// of it for quiet. (A server speaks every twentieth of this while it has work, also when the disk keeps it.)
    public var silence = Duration.seconds(5)
    /// A message that began, or bytes to be sent, without any progress.
    public var stall = Duration.seconds(20)
    /// For the other side's goodbye after ours.
    public var goodbye = Duration.seconds(2)

    public init() {}

    /// Silence and stalls are counted in ticks and not by the clock: a process that was stopped, or a machine that was
    /// asleep, gets to read what has arrived meanwhile before it judges.
    var tick: Duration { max(.milliseconds(1), silence / 20) }
    var quietTicks: Int { 4 }
    var silentTicks: Int { 20 }
    var stalledTicks: Int { max(1, Int(stall / tick)) }
}
