import CRIProtocol
import RuntimeModel
import Testing

@testable import CRIServer

@Suite struct CapabilitySetTests {
  private static let all = CapabilitySet(mask: (1 << 41) - 1)

  private static func set(add: [String] = [], drop: [String] = []) throws -> CapabilitySet {
    var request = Runtime_V1_Capability()
    request.addCapabilities = add
    request.dropCapabilities = drop
    return try CapabilitySet(request, available: all)
  }

  @Test func nothingAskedGivesTheStandardFourteen() throws {
    #expect(try Self.set().mask.nonzeroBitCount == 14)
    #expect(try Self.set() == .standard)
  }

  @Test func addAndDropAcceptAnyCaseAndPrefix() throws {
    let set = try Self.set(add: ["cap_net_admin", "SYS_TIME"], drop: ["Chown"])
    #expect(set.contains("NET_ADMIN") && set.contains("SYS_TIME") && !set.contains("CHOWN"))
  }

  @Test func singleAddsSurviveDropAll() throws {
    #expect(try Self.set(add: ["NET_BIND_SERVICE"], drop: ["ALL"]).mask == 1 << 10)
  }

  @Test func allIsWhatTheNodeCanGive() throws {
    var request = Runtime_V1_Capability()
    request.addCapabilities = ["ALL"]
    let withoutBPF = CapabilitySet(mask: Self.all.mask & ~(1 << 39))
    #expect(try CapabilitySet(request, available: withoutBPF) == withoutBPF)
  }

  @Test func unknownNamesAreNamed() {
    #expect {
      try Self.set(add: ["FLY"])
    } throws: { error in
      "\(error)".contains("FLY") && "\(error)".contains("add_capabilities")
    }
  }
}
