package awstest

// ec2Actions are the actions of EC2 that are known here.
func ec2Actions() map[string]action {
	groups, interfaces, lists, networks := []Kind{KindGroups}, []Kind{KindInterfaces}, []Kind{KindPrefixLists}, []Kind{KindNetworks}
	return map[string]action{
		"DescribeRegions":                {run: describeRegions},
		"DescribeVpcs":                   {kinds: networks, run: describeVpcs},
		"DescribeSubnets":                {kinds: networks, run: describeSubnets},
		"DescribeVpcPeeringConnections":  {kinds: networks, run: describePeerings},
		"DescribeInstances":              {kinds: []Kind{KindInstances, KindInterfaces}, run: describeInstances},
		"DescribeNetworkInterfaces":      {kinds: interfaces, run: describeNetworkInterfaces},
		"DescribeSecurityGroups":         {kinds: groups, run: describeSecurityGroups},
		"DescribeSecurityGroupRules":     {kinds: groups, run: describeSecurityGroupRules},
		"DescribeManagedPrefixLists":     {kinds: lists, run: describePrefixLists},
		"GetManagedPrefixListEntries":    {kinds: lists, run: getPrefixListEntries},
		"DescribeImages":                 {run: describeImages},
		"DescribeLaunchTemplates":        {run: describeLaunchTemplates},
		"DescribeLaunchTemplateVersions": {run: describeLaunchTemplateVersions},
	}
}
