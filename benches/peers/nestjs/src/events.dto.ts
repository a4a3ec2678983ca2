import { IsIn, IsInt, IsISO8601, IsLatitude, IsLongitude, IsNumber, IsOptional, Length, Max, Min } from 'class-validator';

export class JoinDto {
  @Length(1, 128)
  orderId!: string;

  @IsOptional()
  @IsInt()
  @Min(0)
  sinceSeq?: number;

  @IsOptional()
  @IsInt()
  @Min(0)
  @Max(200)
  limit?: number;
}

export class LocationDto {
  @Length(1, 128)
  orderId!: string;

  @IsLatitude()
  lat!: number;

  @IsLongitude()
  lng!: number;

  @IsOptional()
  @IsNumber()
  accuracy?: number;

  @IsOptional()
  @IsNumber()
  heading?: number;

  @IsOptional()
  @IsNumber()
  speed?: number;

  @IsOptional()
  @IsNumber()
  altitude?: number;

  @IsOptional()
  @IsISO8601()
  recordedAt?: string;
}

export class ChatDto {
  @Length(1, 128)
  orderId!: string;

  @Length(1, 4000)
  content!: string;

  @IsOptional()
  @IsIn(['TEXT', 'IMAGE'])
  type?: 'TEXT' | 'IMAGE';

  @IsOptional()
  @Length(1, 64)
  clientMsgId?: string;
}
