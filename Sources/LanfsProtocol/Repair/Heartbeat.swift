/// What each member tells each other one every second (B5): "I am here, and these I hear myself."
public struct Heartbeat: Equatable, Sendable {
    /// Random at every start of the sender's process: two processes under one identity (a cloned disk) are told apart,
    /// and what a process said before it crashed is not taken for the word of its successor.
    public var incarnation: UInt128
    /// Rises by one with each heartbeat of an incarnation: an old one that the network kept proves no life.
    public var number: UInt64
    /// Of the configuration whose places `hears` counts.
    public var configVersion: UInt64
    /// The members whose heartbeats the sender got lately.
    public var hears: MemberSet

    public init(incarnation: UInt128, number: UInt64, configVersion: UInt64, hears: MemberSet) {
        self.incarnation = incarnation
        self.number = number
        self.configVersion = configVersion
        self.hears = hears
    }

    func encode(into writer: inout ByteWriter) {
        writer.append(incarnation)
        writer.append(number)
        writer.append(configVersion)
        hears.encode(into: &writer)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        incarnation = try reader.integer()
        number = try reader.integer()
        configVersion = try reader.integer()
        hears = try MemberSet(from: &reader)
    }
}
