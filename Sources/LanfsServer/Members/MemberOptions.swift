import LanfsProtocol

/// How the servers of a volume look after each other: for people the grace, for tests all of it.
public struct MemberOptions: Sendable {
    public var timing = Health.Timing()
    public var repair = RepairPlan.Options()
    public var surplus = SurplusDrop.Options()
    /// Between two searches by broadcast for the same member.
    public var searchInterval = Duration.seconds(30)

    public init() {}
}
