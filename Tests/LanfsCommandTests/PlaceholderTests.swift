import Testing
@testable import LanfsCommand
@Test func placeholder() { #expect(1 + 1 == 2) }
